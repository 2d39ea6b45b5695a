"""ONNX graphs, run by onnxruntime: the same logits, whatever the batch and the cache."""

import numpy as np
import pytest
import torch
from made_decoder import EXPORTED, randomized
from made_pairs import CONFIGS as PAIRS
from made_pairs import END, START, some_sources
from made_pairs import randomized as randomized_pair
from torch.nn import functional as F

from xunlian.decoding.beam import beam_search
from xunlian.decoding.pair_engine import PairEngine
from xunlian.interop.onnx_decoder import write_decoder
from xunlian.interop.onnx_pairs import write_pairs

onnx = pytest.importorskip("onnx", reason='needs pip install "xunlian[onnx]"')
onnxruntime = pytest.importorskip("onnxruntime", reason='needs pip install "xunlian[onnx]"')


def renamed(session, outputs):
    """Outputs by name, `present` as the `past_key_values` of the next call."""
    names = [port.name.replace("present", "past_key_values") for port in session.get_outputs()]
    return dict(zip(names, outputs, strict=True))


def empty(session, batch, part="past_key_values"):
    return {
        port.name: np.zeros((batch, port.shape[1], 0, port.shape[3]), np.float32)
        for port in session.get_inputs()
        if part in port.name
    }


@pytest.fixture(scope="module", params=EXPORTED)
def decoder(request, tmp_path_factory):
    model = randomized(EXPORTED[request.param])
    file = tmp_path_factory.mktemp("onnx") / "model.onnx"
    write_decoder(file, model)
    onnx.checker.check_model(str(file))
    return model, onnxruntime.InferenceSession(str(file))


def test_texts_of_a_batch_padded_on_the_left_give_their_own_logits(decoder):
    model, session = decoder
    generator = torch.Generator().manual_seed(3)
    lengths = [9, 4, 1, 9]
    texts = [torch.randint(61, (length,), generator=generator) for length in lengths]
    ids = np.stack([F.pad(text, (9 - len(text), 0)).numpy() for text in texts])
    mask = np.stack([[0] * (9 - length) + [1] * length for length in lengths])
    positions = np.maximum(mask.cumsum(1) - 1, 0)
    inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
    logits = renamed(session, session.run(None, inputs | empty(session, 4)))["logits"]
    for row, text in zip(logits, texts, strict=True):
        with torch.no_grad():
            ours = model.logits(text[None])[0].numpy()
        np.testing.assert_allclose(row[9 - len(text) :], ours, atol=1e-4)


def test_greedy_text_out_of_the_cache_is_that_of_the_whole_forward_pass(decoder):
    model, session = decoder
    ids, new, done, caches = [5, 17, 3], [5, 17, 3], 0, empty(session, 1)
    while len(ids) < model.config.context:
        inputs = {
            "input_ids": np.array([new]),
            "attention_mask": np.ones((1, len(ids)), np.int64),
            "position_ids": np.arange(done, len(ids))[None],
        }
        caches = renamed(session, session.run(None, inputs | caches))
        logits = caches.pop("logits")[0]
        with torch.no_grad():
            ours = model.logits(torch.tensor([ids]))[0, done:].numpy()
        np.testing.assert_allclose(logits, ours, atol=1e-4)
        done, new = len(ids), [int(logits[-1].argmax())]
        assert new[0] == ours[-1].argmax()
        ids = ids + new


@pytest.fixture(scope="module", params=PAIRS)
def pair(request, tmp_path_factory):
    model = randomized_pair(PAIRS[request.param], ending=2.0)
    folder = tmp_path_factory.mktemp("onnx")
    write_pairs(folder, model)
    files = [folder / name for name in ("encoder.onnx", "decoder.onnx")]
    for file in files:
        onnx.checker.check_model(str(file))
    return model, *(onnxruntime.InferenceSession(str(file)) for file in files)


def test_padded_sources_are_translated_as_we_translate_them_one_by_one(pair):
    model, encoder, decoder = pair
    sources = some_sources([3, 9, 6, 14])
    ids, mask = np.zeros((4, 14), np.int64), np.zeros((4, 14), np.int64)
    for row, source in enumerate(sources):
        ids[row, : len(source)], mask[row, : len(source)] = source, 1
    memory = renamed(encoder, encoder.run(None, {"input_ids": ids, "attention_mask": mask}))
    caches, said = empty(decoder, 4, ".decoder."), np.full((4, 1), START)
    for _ in range(12):
        inputs = {"input_ids": said[:, -1:], "encoder_attention_mask": mask}
        caches = renamed(decoder, decoder.run(None, inputs | memory | caches))
        logits = caches.pop("logits")
        said = np.concatenate([said, logits[:, -1].argmax(-1)[:, None]], axis=1)
    ours = beam_search(
        PairEngine(model, "fp32"), sources, [12] * 4, start_id=START, end_ids=[END], beam=1
    )
    for row, several in zip(said[:, 1:].tolist(), ours, strict=True):
        best = several[0].tokens
        assert row[: len(best)] == best
        assert len(best) == 12 or row[len(best)] == END


def test_a_whole_target_at_once_gives_the_logits_of_training(pair):
    model, encoder, decoder = pair
    (source,), target = some_sources([7]), [START, 5, 9, 2, 44]
    ids = np.array([source])
    mask = np.ones_like(ids)
    memory = renamed(encoder, encoder.run(None, {"input_ids": ids, "attention_mask": mask}))
    inputs = {"input_ids": np.array([target]), "encoder_attention_mask": mask}
    outputs = decoder.run(None, inputs | memory | empty(decoder, 1, ".decoder."))
    tokens, targets = torch.tensor([source]), torch.tensor([target])
    with torch.no_grad():
        hidden = model(tokens, torch.zeros_like(tokens), targets, torch.zeros_like(targets))
        ours = F.linear(hidden, model.head_weight).numpy()
    np.testing.assert_allclose(renamed(decoder, outputs)["logits"], ours, atol=1e-4)
