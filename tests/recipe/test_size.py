"""The size dial: the arithmetic equals the real model, and shapes are natural."""

import pytest

from xunlian.errors import InputError
from xunlian.models.decoder import Decoder, DecoderConfig
from xunlian.models.encoder_decoder import EncoderDecoder
from xunlian.models.pair_config import EncoderDecoderConfig
from xunlian.models.speedrun import Speedrun
from xunlian.recipe.budget import Budget, parse_budget
from xunlian.recipe.resolve import resolve
from xunlian.recipe.settings import Model, Recipe, parse_size
from xunlian.recipe.size import (
    PAIRS,
    count_parameters,
    decoder_fields,
    derive_shape,
    matmul_parameters,
)


@pytest.mark.parametrize("architecture", ["qwen3", "qwen2", "llama", "mistral", "gpt2"])
@pytest.mark.parametrize("tied", [True, False])
def test_counted_parameters_equal_the_model(architecture, tied):
    model = Model(architecture=architecture, depth=3, width=96, heads=3, tied=tied, context=32)
    shape = derive_shape(model, 500)
    built = Decoder(
        DecoderConfig(
            architecture=architecture, vocab_size=500, context=32, **decoder_fields(shape)
        )
    )
    assert count_parameters(model, shape, 500) == sum(p.numel() for p in built.parameters())


def test_counted_parameters_equal_the_model_with_grouped_queries():
    model = Model(depth=2, width=128, heads=8, kv_heads=2, head_width=16, context=32)
    shape = derive_shape(model, 300)
    built = Decoder(
        DecoderConfig(architecture="qwen3", vocab_size=300, context=32, **decoder_fields(shape))
    )
    assert count_parameters(model, shape, 300) == sum(p.numel() for p in built.parameters())


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize(("width", "heads", "kv_heads"), [(96, 3, 3), (128, 4, 2), (16, 1, 1)])
def test_counted_parameters_equal_the_speedrun_decoder(depth, width, heads, kv_heads):
    model = Model(architecture="speedrun", depth=depth, width=width, heads=heads, kv_heads=kv_heads)
    shape = derive_shape(model, 500)
    built = Speedrun(
        DecoderConfig(architecture="speedrun", vocab_size=500, context=32, **decoder_fields(shape))
    )
    assert count_parameters(model, shape, 500) == sum(p.numel() for p in built.parameters())
    # A token meets the matrices of the blocks and the head; it only looks into the tables.
    met = sum(p.numel() for n, p in built.named_parameters() if p.ndim == 2)
    gates = sum(p.numel() for n, p in built.named_parameters() if "value_gate" in n)
    tables = sum(p.numel() for n, p in built.named_parameters() if n.startswith(("emb", "values")))
    assert matmul_parameters(model, shape, 500) == met - gates - tables


@pytest.mark.parametrize(("size", "vocab_size"), [("1m", 256), ("10m", 4096), ("124m", 32768)])
def test_value_embeddings_count_in_the_size(size, vocab_size):
    model = Model(size=size, architecture="speedrun")
    shape = derive_shape(model, vocab_size)
    assert count_parameters(model, shape, vocab_size) == pytest.approx(parse_size(size), rel=0.15)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("speedrun", "speedrun is not for pairs; choose pegasus or marian"),
        ("bart", "bart is not made anew: start from .* model.init_from, or choose pegasus"),
    ],
)
def test_what_is_not_for_new_networks_of_pairs_is_refused(architecture, message):
    recipe = Recipe(task="translation", model=Model(architecture=architecture, depth=2))
    with pytest.raises(InputError, match=message):
        resolve(recipe, vocab_size=500, corpus_tokens=10**6, matmul_rate=1e11, on_gpu=False)


@pytest.mark.parametrize("architecture", PAIRS)
def test_counted_parameters_equal_the_encoder_decoder(architecture):
    model = Model(
        architecture=architecture, depth=3, decoder_depth=2, width=96, heads=3, context=32
    )
    shape = derive_shape(model, 500)
    config = EncoderDecoderConfig(
        architecture, 500, 3, shape.decoder_depth, 96, 3, shape.mlp_width, 32, first_position=2
    )
    built = sum(p.numel() for p in EncoderDecoder(config).parameters())
    assert count_parameters(model, shape, 500) == built


@pytest.mark.parametrize("size", ["1m", "3m", "10m", "30m", "124m", "350m", "1b"])
@pytest.mark.parametrize("vocab_size", [256, 8192])
def test_a_size_is_met_within_a_tenth_or_so(size, vocab_size):
    model = Model(size=size)
    shape = derive_shape(model, vocab_size)
    assert count_parameters(model, shape, vocab_size) == pytest.approx(parse_size(size), rel=0.15)


def test_a_size_too_small_for_the_vocabulary_is_refused():
    with pytest.raises(ValueError, match="vocabulary of 32768"):
        derive_shape(Model(size="300k"), 32768)


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("5min", Budget(300, "seconds")),
        ("90s", Budget(90, "seconds")),
        ("1.5h", Budget(5400, "seconds")),
        ("2 hours", Budget(7200, "seconds")),
        ("200 steps", Budget(200, "steps")),
        ("10M tokens", Budget(1e7, "tokens")),
        ("1.5b tokens", Budget(1.5e9, "tokens")),
        ("3 epochs", Budget(3, "epochs")),
    ],
)
def test_budgets_read_as_written(text, budget):
    assert parse_budget(text) == budget


def test_everything_is_resolved_and_given_values_stay():
    recipe = Recipe(model=Model(size="3m", mlp_width=333))
    done = resolve(
        recipe, vocab_size=1000, corpus_tokens=10_000_000, matmul_rate=1e11, on_gpu=False
    )
    assert done.model.mlp_width == 333
    open_fields = {name for name, value in done.model if value is None}
    assert open_fields == {"init_from", "decoder_depth"}
    assert done.training.batch_tokens % done.model.context == 0
    assert done.training.learning_rate is not None
