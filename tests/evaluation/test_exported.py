"""The check of an export: what it measures, on which texts, and what it lets pass."""

import numpy as np
import pytest
import torch
from made_decoder import CONFIGS, randomized
from made_run import make_corpus, make_model, make_run, make_translator

from xunlian.errors import XunlianError
from xunlian.evaluation import exported
from xunlian.evaluation.exported import Agreement, sample_tokens
from xunlian.runs.load import load_run

TEXT = "a cat sat on the mat. 人有猫。"


def logits(seed, shape=(5, 11)):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_differences_are_the_largest_of_a_logit_and_the_mean_divergence():
    texts = [(logits(1), logits(2)), (logits(3, (2, 11)), logits(4, (2, 11)))]
    found = exported._compare(texts)
    assert (found.texts, found.tokens) == (2, 7)
    assert found.greatest_difference == max(np.abs(a - b).max() for a, b in texts)
    assert found.scale == max(np.abs(ours).max() for _, ours in texts)
    theirs, ours = (torch.from_numpy(np.concatenate(side)) for side in zip(*texts, strict=True))
    divergence = torch.nn.functional.kl_div(
        theirs.log_softmax(-1), ours.log_softmax(-1), reduction="batchmean", log_target=True
    )
    assert found.mean_difference == pytest.approx(divergence.item(), rel=1e-5)


def test_equal_logits_have_no_difference_at_all():
    found = exported._compare([(logits(1), logits(1))])
    assert found.greatest_difference == found.mean_difference == 0
    found.require("float32")


@pytest.mark.parametrize(
    "type_, good, bad",
    [
        ("float32", Agreement(1, 1, 0.9e-4, 0.5), Agreement(1, 1, 1.1e-4, 0.0)),
        ("f32", Agreement(1, 1, 9e-4, 0.0, scale=10.0), Agreement(1, 1, 11e-4, 0.0, scale=10.0)),
        ("f16", Agreement(1, 1, 3.0, 0.009), Agreement(1, 1, 3.0, 0.02)),
        ("q8_0", Agreement(1, 1, 3.0, 0.09), Agreement(1, 1, 0.0, 0.2)),
        ("int8", Agreement(1, 1, 3.0, 0.09), Agreement(1, 1, 0.0, float("nan"))),
        ("float32", Agreement(1, 1, 0.0, 0.0), Agreement(1, 1, float("nan"), 0.0)),
    ],
)
def test_more_than_rounding_explains_is_refused(type_, good, bad):
    good.require(type_)
    with pytest.raises(XunlianError, match="does not compute what the run computes"):
        bad.require(type_)


def test_texts_are_those_held_out_where_the_corpus_is_there(tmp_path):
    corpus = make_corpus(tmp_path / "corpus", val=["Once upon a time. " * 9, "x"])
    run = make_run(tmp_path / "run", corpus)
    loaded = load_run(run)
    decode = loaded.tokenizer.decode
    assert [decode(text) for text in sample_tokens(run, loaded)] == [
        ("Once upon a time. " * 9)[:32],
        "x",
    ]


def test_without_the_corpus_they_are_lines_of_two_languages(tmp_path):
    loaded = load_run(make_model(tmp_path / "model"))
    texts = [loaded.tokenizer.decode(t) for t in sample_tokens(tmp_path / "model", loaded)]
    assert texts[0].startswith("Once upon") and texts[-1].startswith("今天")


def test_sources_end_with_the_end_token_and_fit_the_context(tmp_path):
    loaded = load_run(make_translator(tmp_path / "model", TEXT))
    for source in sample_tokens(tmp_path / "model", loaded):
        assert source[-1] == loaded.tokenizer.end_id
        assert 1 < len(source) <= loaded.model.config.context


def test_weights_that_were_changed_are_found(tmp_path):
    pytest.importorskip("gguf", reason='needs pip install "xunlian[gguf]"')
    from xunlian.interop.gguf_model import write_gguf

    folder = make_model(tmp_path / "model")
    loaded = load_run(folder)
    write_gguf(tmp_path / "m.gguf", loaded.model, loaded.tokenizer, folder, "m", "f32")
    texts = sample_tokens(folder, loaded)
    exported.compare_gguf(tmp_path / "m.gguf", loaded.model, texts).require("f32")
    with torch.no_grad():
        loaded.model.blocks[1].attention.key_norm.weight[3] *= -1
    with pytest.raises(XunlianError, match="greatest difference"):
        exported.compare_gguf(tmp_path / "m.gguf", loaded.model, texts).require("f32")


def test_a_target_is_what_the_model_says_without_its_end(tmp_path):
    loaded = load_run(make_translator(tmp_path / "model", TEXT))
    (source, *_) = sample_tokens(tmp_path / "model", loaded)
    said = exported._say(loaded.model, source, loaded.start_id, loaded.end_ids)
    assert len(said) == 16
    assert not {loaded.start_id, *loaded.end_ids} & set(said)


def test_a_cache_is_empty_then_grows_by_one_and_by_several(tmp_path):
    pytest.importorskip("onnxruntime", reason='needs pip install "xunlian[onnx]"')
    from xunlian.evaluation import onnx_sessions
    from xunlian.interop.onnx_decoder import write_decoder

    pieces = list(onnx_sessions._pieces(range(9)))
    assert [(at, ids.tolist()) for at, ids in pieces] == [
        (0, [[0, 1, 2, 3]]), (4, [[4]]), (5, [[5]]), (6, [[6, 7, 8]]),
    ]  # fmt: skip
    model = randomized(CONFIGS["qwen3"])
    write_decoder(tmp_path / "model.onnx", model)
    read = onnx_sessions.decoder_logits(tmp_path)
    for length in (1, 2, 5, 24):
        text = torch.arange(length) % 61
        with torch.no_grad():
            ours = model.logits(text[None])[0].numpy()
        np.testing.assert_allclose(read(text.tolist()), ours, atol=1e-4)
