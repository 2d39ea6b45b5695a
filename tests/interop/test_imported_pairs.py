"""Encoder-decoders that other people trained: Transformers' logits and translations, both ways."""

import json
from dataclasses import replace

import pytest
import torch
from made_folder import save_pair_folder

from xunlian.decoding.beam import beam_search
from xunlian.decoding.pair_engine import PairEngine
from xunlian.errors import InputError
from xunlian.interop.huggingface import load_model, read_config, write_config, write_weights
from xunlian.models.vocabulary import add_tokens

transformers = pytest.importorskip("transformers")

MODELS = {
    "pegasus": ("pegasus", {}, False),
    "pegasus unscaled, gelu": (
        "pegasus",
        {"scale_embedding": False, "activation_function": "gelu"},
        False,
    ),
    "marian": ("marian", {}, False),
    "marian as published": ("marian", {"activation_function": "swish"}, True),
    "m2m_100": ("m2m_100", {}, False),
    "m2m_100, another padding": ("m2m_100", {"pad_token_id": 2, "scale_embedding": False}, False),
    "bart": ("bart", {"activation_function": "gelu", "scale_embedding": False}, False),
    "bart with a bias": ("bart", {}, True),
    "mbart": ("mbart", {}, False),
}


def made(name, folder):
    """Their model, in `folder` too; with a bias of the logits where published ones have one."""
    kind, fields, bias = MODELS[name]
    return save_pair_folder(folder, kind, vocab_size=61, bias=bias, **fields)


def some_pairs(rows=3):
    generator = torch.Generator().manual_seed(5)
    return torch.randint(3, 61, (rows, 11), generator=generator), torch.randint(
        3, 61, (rows, 7), generator=generator
    )


@torch.no_grad()
def agree(ours, theirs):
    source, target = some_pairs()
    hidden = ours(source, torch.zeros_like(source), target, torch.zeros_like(target))
    expected = theirs(input_ids=source, decoder_input_ids=target).logits
    assert expected.std() > 0.1
    torch.testing.assert_close(hidden @ ours.head_weight.t(), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", MODELS)
def test_we_give_transformers_logits_and_write_a_folder_that_gives_them_too(name, tmp_path):
    theirs = made(name, tmp_path / "theirs")
    model = load_model(tmp_path / "theirs")
    agree(model, theirs)
    write_config(tmp_path / "ours", model.config, end_id=1, start_id=1, pad_id=0)
    # Without weights, too: a training that is interrupted early has none yet.
    assert read_config(tmp_path / "ours") == model.config
    write_weights(tmp_path / "ours" / "model.safetensors", model)
    assert read_config(tmp_path / "ours") == model.config
    again, report = transformers.AutoModelForSeq2SeqLM.from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert type(again) is type(theirs)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    agree(model, again.eval())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("beam", [1, 3])
@torch.no_grad()
def test_beam_search_finds_what_transformers_finds(name, beam, tmp_path):
    theirs, engine = made(name, tmp_path), PairEngine(load_model(tmp_path), "fp32")
    source, _ = some_pairs()
    source[:, -1] = 1
    start = theirs.config.decoder_start_token_id
    found = beam_search(engine, source.tolist(), [12] * 3, start_id=start, end_ids=[1], beam=beam)
    expected = theirs.generate(
        source, num_beams=beam, max_new_tokens=12, do_sample=False, forced_eos_token_id=None
    )
    for hypotheses, row in zip(found, expected.tolist(), strict=True):
        ids = row[1:]
        assert hypotheses[0].tokens == ids[: ids.index(1) if 1 in ids else None]


def test_tensors_of_the_inner_model_alone_are_found(tmp_path):
    theirs = made("bart", tmp_path / "whole")
    theirs.model.save_pretrained(tmp_path / "inner")
    agree(load_model(tmp_path / "inner"), theirs)


@pytest.mark.parametrize("penalty", [0.0, 1.0, 3.0])
@torch.no_grad()
def test_a_forced_token_counts_as_a_new_one_of_a_target(penalty, tmp_path):
    theirs, engine = made("bart", tmp_path), PairEngine(load_model(tmp_path), "fp32")
    source, _ = some_pairs(rows=8)
    source[:, -1] = 1
    found = beam_search(
        engine, source.tolist(), [12] * 8, start_id=1, end_ids=[1], beam=4, length_penalty=penalty,
        forced=[7],
    )  # fmt: skip
    expected = theirs.generate(
        source, num_beams=4, max_new_tokens=13, do_sample=False, length_penalty=penalty,
        forced_bos_token_id=7, forced_eos_token_id=None, output_scores=True,
        return_dict_in_generate=True,
    )  # fmt: skip
    for hypotheses, row, score in zip(
        found, expected.sequences.tolist(), expected.sequences_scores.tolist(), strict=True
    ):
        ids = row[2:]
        assert row[:2] == [1, 7]
        assert hypotheses[0].tokens == ids[: ids.index(1) if 1 in ids else None]
        assert hypotheses[0].score == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"activation_function": "gelu_new"}, "activation_function"),
        ({"decoder_start_token_id": 0}, "starts targets with the padding token 0"),
        ({"pad_token_id": "none"}, "pad_token_id = 'none'"),
    ],
)
def test_what_m2m100_cannot_be_is_refused(fields, message, tmp_path):
    made("m2m_100", tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))
    with pytest.raises(InputError, match=message):
        load_model(tmp_path)


def test_new_tokens_get_a_bias_too(tmp_path):
    made("marian as published", tmp_path)
    model = load_model(tmp_path)
    grown = add_tokens(model.state_dict(), known=61, wanted=65, size=65, seed=1)
    larger = type(model)(replace(model.config, vocab_size=65)).eval()
    larger.load_state_dict(grown)
    source, target = some_pairs()
    marks = torch.zeros_like(source), torch.zeros_like(target)
    with torch.no_grad():
        before = model(source, marks[0], target, marks[1]) @ model.head_weight.t()
        after = larger(source, marks[0], target, marks[1]) @ larger.head_weight.t()
    torch.testing.assert_close(after[..., :61], before, atol=1e-5, rtol=0)
    assert (after[..., 61:] - before.mean(-1, keepdim=True)).abs().max() < 0.1 * before.std()
