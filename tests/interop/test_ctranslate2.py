"""CTranslate2 opens our model folders, and what we write for it, and computes the same."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_decoder import EXPORTED
from made_decoder import randomized as randomized_decoder
from made_pairs import CONFIGS, randomized, some_sources

from xunlian.decoding.beam import beam_search
from xunlian.decoding.pair_engine import PairEngine
from xunlian.interop.ctranslate2_model import write_ctranslate2
from xunlian.interop.huggingface import write_config, write_weights
from xunlian.tokenizer.sides import Sides, side_by_side
from xunlian.tokenizer.train import train_tokenizer

ctranslate2 = pytest.importorskip("ctranslate2", reason='needs pip install "xunlian[ctranslate2]"')


@pytest.mark.parametrize("beam", [1, 4])
def test_ctranslate2_translates_the_same(tmp_path, beam):
    tokenizer = train_tokenizer(iter([]), "byte", 258, pad=True)
    config = replace(CONFIGS["pegasus"], vocab_size=tokenizer.vocab_size)
    model = randomized(config)
    write_config(tmp_path, config, tokenizer.end_id, tokenizer.pad_id)
    write_weights(tmp_path / "model.safetensors", model)
    tokenizer.save(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    settings.setdefault("unk_token", settings["pad_token"])  # CTranslate2 wants one
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    converter = ctranslate2.converters.TransformersConverter(str(tmp_path))
    converter.convert(str(tmp_path / "ct2"))
    theirs = ctranslate2.Translator(str(tmp_path / "ct2"), device="cpu", compute_type="float32")
    sources = [[*source[:-1], tokenizer.end_id] for source in some_sources([3, 9, 14, 7])]
    name = tokenizer.backend.id_to_token
    results = theirs.translate_batch(
        [[name(i) for i in source] for source in sources], beam_size=beam, max_decoding_length=20
    )
    ours = beam_search(
        PairEngine(model, "fp32"), sources, [20] * len(sources), start_id=tokenizer.pad_id,
        end_ids=[tokenizer.end_id], beam=beam,
    )  # fmt: skip
    for result, several in zip(results, ours, strict=True):
        assert result.hypotheses[0] == [name(i) for i in several[0].tokens]


def made_tokenizers(separate):
    """Byte tokenizers of pairs: one of both sides, or one of each."""
    tokenizer = train_tokenizer(iter([]), "byte", 258, pad=True)
    other = train_tokenizer(iter([]), "byte", 258, pad=True)
    return side_by_side(tokenizer, other) if separate else Sides(tokenizer, tokenizer)


@pytest.mark.parametrize("layout", CONFIGS)
@pytest.mark.parametrize("separate", [False, True])
def test_what_we_write_for_it_translates_the_same(tmp_path, layout, separate):
    sides = made_tokenizers(separate)
    config = replace(CONFIGS[layout], vocab_size=sides.vocab_size)
    model = randomized(config, ending=2.0)
    start, end = sides.source.pad_id, sides.source.end_id
    write_ctranslate2(tmp_path, model, sides, start, "float32")
    theirs = ctranslate2.Translator(str(tmp_path), device="cpu")
    sources = [[*source[:-1], end] for source in some_sources([3, 9, 14, 7])]
    read, written = (side.tokens(config.vocab_size) for side in sides)
    results = theirs.translate_batch(
        [[read[i] for i in source] for source in sources], beam_size=4, max_decoding_length=20
    )
    ours = beam_search(
        PairEngine(model, "fp32"), sources, [20] * len(sources), start_id=start, end_ids=[end],
        beam=4,
    )  # fmt: skip
    for result, several in zip(results, ours, strict=True):
        assert result.hypotheses[0] == [written[i] for i in several[0].tokens]


@pytest.mark.parametrize("name", EXPORTED)
@pytest.mark.parametrize("type_, most", [("float32", 1e-4), ("float16", 0.1), ("int8", 2.5)])
def test_decoders_have_our_logits(tmp_path, name, type_, most):
    tokenizer = train_tokenizer(iter([]), "byte", 257)
    model = randomized_decoder(replace(EXPORTED[name], vocab_size=257, context=32))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    write_ctranslate2(tmp_path, model, Sides(tokenizer, tokenizer), None, type_)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), "rounded in place"
    compute = "float32" if type_ == "float16" else "default"
    theirs = ctranslate2.Generator(str(tmp_path), device="cpu", compute_type=compute)
    ids = tokenizer.encode("Über den Wolken 云上")
    logits = torch.from_numpy(np.array(theirs.forward_batch([ids])))
    with torch.no_grad():
        difference = (logits - model.logits(torch.tensor([ids]))).abs().max()
    assert difference < most and (type_ == "float32" or difference > 1e-4)
