"""A corpus, a model folder and a run, made by hand: small, and not by the code under test."""

import hashlib
from dataclasses import replace

import numpy as np
import orjson
import torch
from made_pairs import CONFIGS, randomized

from xunlian.interop.huggingface import write_config, write_weights
from xunlian.recipe import Recipe
from xunlian.runs.folder import create_run
from xunlian.shards.format import token_dtype
from xunlian.shards.writer import ShardWriter
from xunlian.tokenizer.train import train_tokenizer

CONTEXT = 32
TRAIN = ["The quick brown fox jumps over the lazy dog.\n" * 3, "我们的生活比从前好得多了。", "x y"]
VAL = ["Once upon a time there was a king.\nHe had three daughters.\n" * 4, "天还没有亮。", "x"]


def byte_tokenizer():
    return train_tokenizer(iter([]), "byte", 257)


def make_corpus(path, train=TRAIN, val=VAL, tokenizer=None):
    path.mkdir(parents=True)
    tokenizer = tokenizer or byte_tokenizer()
    tokenizer.save(path)
    splits = {}
    for name, texts in (("train", train), ("val", val)):
        writer = ShardWriter(path, name, token_dtype(tokenizer.vocab_size))
        with writer:
            for text in texts:
                ids = np.array([*tokenizer.encode(text), tokenizer.end_id])
                writer.write(ids, np.array([len(ids)], dtype=np.int32), np.array([True]))
        splits[name] = {
            "documents": len(texts),
            "tokens": sum(shard["tokens"] for shard in writer.shards),
            "bytes": sum(len(text.encode()) for text in texts),
            "characters": sum(map(len, texts)),
            "words": sum(len(t.split()) for t in texts),
            "shards": writer.shards,
        }
    card = {
        "format": 1,
        "sources": [{"name": "tales.txt", "bytes": 300}],
        "splits": splits,
        "tokenizer": {
            "kind": "byte",
            "vocab_size": tokenizer.vocab_size,
            "end_id": tokenizer.end_id,
            "fingerprint": tokenizer.fingerprint,
        },
    }
    (path / "corpus.json").write_bytes(orjson.dumps(card))
    return path


def make_model(path, tokenizer=None, context=CONTEXT):
    """A small random Qwen3, written by Transformers."""
    import transformers

    tokenizer = tokenizer or byte_tokenizer()
    config = transformers.Qwen3Config(
        vocab_size=tokenizer.vocab_size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=context,
        tie_word_embeddings=False,
        initializer_range=0.3,
    )
    torch.manual_seed(4)
    transformers.Qwen3ForCausalLM(config).save_pretrained(path)
    tokenizer.save(path)
    return path


def make_translator(path, text):
    """A Hugging Face folder with a random Pegasus over the characters of `text`."""
    tokenizer = train_tokenizer(iter([text] * 5), "char", 320, shrink=True, pad=True)
    config = replace(CONFIGS["pegasus"], vocab_size=tokenizer.vocab_size)
    model = randomized(config)
    with torch.no_grad():
        model.embedding.weight[tokenizer.pad_id] = 0  # not said
        for token, i in tokenizer.backend.get_vocab().items():
            if token.startswith("<0x"):  # bytes are not
                model.embedding.weight[i] = 0
    write_config(path, config, tokenizer.end_id, tokenizer.pad_id)
    write_weights(path / "model.safetensors", model)
    tokenizer.save(path)
    return path


def make_run(path, corpus, finished=True):
    recipe = Recipe.model_validate(
        {
            "about": "Tales",
            "corpus": {"path": str(corpus)},
            "model": {"depth": 2, "width": 32, "context": CONTEXT, "size": "50k"},
            "training": {"budget": "20 steps", "precision": "fp32"},
        }
    )
    run = create_run(path, recipe)
    make_model(run.model_folder)
    (run.checkpoints / "step-00000020").mkdir(parents=True)
    rows = [
        {"step": 10, "tokens": 640, "seconds": 1.5, "val_loss": 3.25},
        {"step": 20, "tokens": 1280, "seconds": 3.0, "val_loss": 3.5},
    ]
    run.metrics_file.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    run.report_file.write_text("<!doctype html>")
    run.write_facts(
        {"parameters": 50_123, "step": 20, "tokens": 1280, "seconds": 3.0, "finished": finished}
    )
    return run.path


def tree(path):
    """Every file below `path` with its checksum."""
    return {
        str(p.relative_to(path)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(path.rglob("*"))
        if p.is_file()
    }
