"""Small decoders and tokenizers for GGUF, and texts that tokenizers are compared on."""

from dataclasses import replace
from functools import cache

import pytest
from conftest import SAMPLES
from made_decoder import EXPORTED, randomized

from xunlian.interop.huggingface import write_config, write_weights
from xunlian.tokenizer.train import train_tokenizer

gguf = pytest.importorskip("gguf", reason='needs pip install "xunlian[gguf]"')

TEXTS = [
    "The king and the queen",
    "we don't know,\n\n  what 3 12345 we're DOIN'  now. It'S\t end ",
    "春眠不觉晓，处处闻啼鸟。é ñ 😀",
    "<|endoftext|> is not the end",
]


@cache
def trained_tokenizers():
    text = (SAMPLES / "shakespeare.txt").read_text("utf-8")[:40_000]
    sizes = {"bpe": 400, "byte": 257, "char": 330, "unigram": 400, "wordpiece": 300}
    return {
        kind: train_tokenizer(iter([text] * 2), kind, size, shrink=True)
        for kind, size in sizes.items()
    }


def make(folder, name, tokenizer, **changes):
    """A Hugging Face folder of a random decoder that `tokenizer` belongs to."""
    config = replace(EXPORTED[name], vocab_size=tokenizer.vocab_size, **changes)
    model = randomized(config)
    write_config(folder, config, tokenizer.end_id)
    write_weights(folder / "model.safetensors", model)
    tokenizer.save(folder)
    return model


def fields_of(file):
    return {name: field.contents() for name, field in gguf.GGUFReader(file).fields.items()}
