"""CTranslate2 opens our model folders and translates the same."""

import json
from dataclasses import replace

import pytest
from made_pairs import CONFIGS, randomized, some_sources

from xunlian.decoding.beam import beam_search
from xunlian.decoding.pair_engine import PairEngine
from xunlian.interop.huggingface import write_config, write_weights
from xunlian.tokenizer.train import train_tokenizer

ctranslate2 = pytest.importorskip("ctranslate2")


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
