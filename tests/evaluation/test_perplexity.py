"""Loss and perplexity against Transformers' logits, one document at a time, the slow way."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from xunlian.errors import InputError
from xunlian.evaluation.perplexity import (
    Score,
    TextCounts,
    count_windows,
    document_score,
    validation_loss,
    window_losses,
)
from xunlian.models.decoder import Decoder, DecoderConfig

VOCAB, CONTEXT, END = 61, 32, 0
FP32 = {"dtype": torch.float32, "batch_tokens": 128}


class ArrayStream:
    """A token stream in memory that remembers the largest part that was read at once."""

    def __init__(self, tokens):
        self.tokens, self.largest_read = tokens, 0

    def __len__(self):
        return len(self.tokens)

    def read(self, start, stop):
        assert 0 <= start < stop <= len(self.tokens)
        self.largest_read = max(self.largest_read, stop - start)
        return self.tokens[start:stop]


@pytest.fixture(scope="module")
def model():
    config = DecoderConfig(
        "qwen3",
        VOCAB,
        depth=2,
        width=32,
        heads=2,
        kv_heads=1,
        head_width=16,
        mlp_width=48,
        context=CONTEXT,
        tied=False,
    )
    decoder = Decoder(config, dropout=0.5)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.normal_(0, 0.4, generator=generator)
    return decoder


@pytest.fixture(scope="module")
def reference(model):
    """The same weights in Transformers."""
    transformers = pytest.importorskip("transformers")
    config = model.config
    twin = transformers.Qwen3ForCausalLM(
        transformers.Qwen3Config(
            vocab_size=config.vocab_size,
            hidden_size=config.width,
            intermediate_size=config.mlp_width,
            num_hidden_layers=config.depth,
            num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads,
            head_dim=config.head_width,
            max_position_embeddings=config.context,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            rms_norm_eps=config.norm_epsilon,
            tie_word_embeddings=False,
        )
    ).eval()
    renames = {"embedding": "model.embed_tokens", "head": "lm_head", "norm": "model.norm"}
    inside = {
        "attention_norm": "input_layernorm",
        "attention.query_norm": "self_attn.q_norm",
        "attention.key_norm": "self_attn.k_norm",
        "attention.query": "self_attn.q_proj",
        "attention.key": "self_attn.k_proj",
        "attention.value": "self_attn.v_proj",
        "attention.output": "self_attn.o_proj",
        "mlp_norm": "post_attention_layernorm",
        "mlp.gate": "mlp.gate_proj",
        "mlp.up": "mlp.up_proj",
        "mlp.output": "mlp.down_proj",
    }
    for layer in range(config.depth):
        renames |= {
            f"blocks.{layer}.{ours}": f"model.layers.{layer}.{theirs}"
            for ours, theirs in inside.items()
        }
    state = model.state_dict()
    twin.load_state_dict(
        {f"{theirs}.weight": state[f"{ours}.weight"] for ours, theirs in renames.items()}
    )
    return twin


def random_documents(lengths):
    generator = np.random.default_rng(1)
    return [np.append(generator.integers(1, VOCAB, length - 1), END) for length in lengths]


@torch.no_grad()
def obvious_nats(reference, document, stride):
    """One document: for each window, whole logits, and only the tokens not yet scored."""
    row = torch.tensor([END, *document])
    nats, scored = 0.0, 0
    for begin in range(0, len(document), stride):
        stop = min(begin + CONTEXT, len(document))
        logits = reference(row[None, begin:stop]).logits[0].double()
        losses = F.cross_entropy(logits, row[begin + 1 : stop + 1], reduction="none")
        nats += losses[scored - begin :].sum().item()
        scored = stop
        if stop == len(document):
            return nats
    raise AssertionError


LENGTHS = [1, 2, 3, 15, 16, 17, 31, 32, 33, 48, 49, 64, 65, 100, 5, 7, 9]


@pytest.mark.parametrize("stride", [3, 16, 32])
def test_document_score_is_that_of_whole_logits_one_document_at_a_time(model, reference, stride):
    documents = random_documents(LENGTHS)
    score = document_score(model, documents, stride=stride, before_id=END, **FP32)
    assert score.tokens == sum(LENGTHS)
    expected = sum(obvious_nats(reference, document, stride) for document in documents)
    assert score.nats == pytest.approx(expected, rel=1e-5)


def test_each_document_is_scored_by_itself(model):
    first, second = random_documents([40, 21])
    together = document_score(model, [first, second], stride=16, before_id=END, **FP32)
    alone = [document_score(model, [d], stride=16, before_id=END, **FP32) for d in (first, second)]
    assert together.nats == pytest.approx(sum(score.nats for score in alone), rel=1e-6)


@pytest.mark.parametrize("batch_tokens", [1, CONTEXT, 8 * CONTEXT])
def test_the_batch_does_not_change_the_result(model, batch_tokens):
    documents = random_documents(LENGTHS)
    stream = ArrayStream(np.concatenate(documents))
    options = {"dtype": torch.float32, "batch_tokens": batch_tokens}
    by_document = document_score(model, documents, stride=16, before_id=END, **options)
    whole = document_score(model, documents, stride=16, before_id=END, **FP32)
    assert by_document.loss == pytest.approx(whole.loss, abs=1e-5)
    loss = validation_loss(model, stream, **options)
    assert loss == pytest.approx(validation_loss(model, stream, **FP32), abs=1e-5)


@pytest.mark.parametrize("length", [2, 32, 33, 34, 65, 200, 257])
def test_validation_loss_is_the_mean_over_windows_of_whole_logits(model, reference, length):
    tokens = np.random.default_rng(2).integers(0, VOCAB, length)
    row = torch.from_numpy(tokens)
    nats, count = 0.0, 0
    with torch.no_grad():
        for begin in range(0, length - 1, CONTEXT):
            stop = min(begin + CONTEXT, length - 1)
            logits = reference(row[None, begin:stop]).logits[0].double()
            nats += F.cross_entropy(logits, row[begin + 1 : stop + 1], reduction="sum").item()
            count += stop - begin
    assert count == length - 1
    assert validation_loss(model, ArrayStream(tokens), **FP32) == pytest.approx(
        nats / count, abs=1e-5
    )


def test_ranges_of_windows_add_up_to_the_whole(model):
    stream = ArrayStream(np.random.default_rng(4).integers(0, VOCAB, 333))
    windows = count_windows(len(stream), CONTEXT)
    assert windows == 11
    parts = [
        window_losses(model, stream, CONTEXT, first_window=first, last_window=last, **FP32)
        for first, last in [(0, 4), (4, 4), (4, 10), (10, 11)]
    ]
    assert parts[1] == (0.0, 0)
    assert sum(tokens for _, tokens in parts) == 332
    assert sum(nats for nats, _ in parts) / 332 == pytest.approx(
        validation_loss(model, stream, **FP32), abs=1e-6
    )


def test_a_long_stream_is_read_a_batch_at_a_time(model):
    stream = ArrayStream(np.random.default_rng(5).integers(0, VOCAB, 5000))
    validation_loss(model, stream, **FP32)
    assert stream.largest_read <= FP32["batch_tokens"] + 1


def test_evaluation_uses_no_dropout_and_gives_the_mode_back(model):
    document = random_documents([50])
    model.train()
    first = document_score(model, document, stride=16, before_id=END, **FP32)
    assert model.training
    assert document_score(model, document, stride=16, before_id=END, **FP32) == first
    model.eval()
    validation_loss(model, ArrayStream(document[0]), **FP32)
    assert not model.training


def test_progress_hears_of_every_token(model):
    heard = []
    score = document_score(
        model, random_documents(LENGTHS), stride=16, before_id=END, progress=heard.append, **FP32
    )
    assert sum(heard) == score.tokens and len(heard) > 1


def test_one_total_is_spread_over_tokens_words_characters_and_bytes():
    counts = TextCounts(documents=1, bytes=60, characters=20, words=4)
    scores = Score(nats=20 * math.log(8), tokens=10).per_unit(counts)
    assert scores["loss"] == pytest.approx(2 * math.log(8))
    assert scores["perplexity"] == pytest.approx(64)
    assert scores["word_perplexity"] == pytest.approx(8**5)
    assert scores["character_perplexity"] == pytest.approx(8)
    assert scores["bits_per_byte"] == pytest.approx(1)


def test_a_perplexity_beyond_floats_is_infinite_not_an_error():
    counts = TextCounts(documents=1, bytes=900, characters=300, words=1)
    assert Score(nats=2000, tokens=300).per_unit(counts)["word_perplexity"] == math.inf


def test_what_cannot_be_scored_is_refused_with_the_mend(model):
    with pytest.raises(InputError, match="no text"):
        document_score(model, [], stride=16, before_id=END, **FP32)
    with pytest.raises(InputError, match="at least 2"):
        validation_loss(model, ArrayStream(np.zeros(1, dtype=np.int64)), **FP32)
