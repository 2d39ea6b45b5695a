"""The size dial of recurrent networks: the arithmetic equals the real network."""

import pytest

from xunlian.errors import InputError
from xunlian.models.recurrent import RecurrentConfig, RecurrentModel
from xunlian.models.recurrent_pairs import RecurrentPairModel
from xunlian.recipe.resolve import resolve, shape_of
from xunlian.recipe.settings import Model, Recipe, parse_size
from xunlian.recipe.size import count_parameters, derive_any_shape

FAMILIES = ["rnn", "gru", "lstm"]


def resolved(vocab_size=1000, task="language-model", **model):
    return resolve(
        Recipe(task=task, model=Model(**model)),
        vocab_size=vocab_size,
        corpus_tokens=10_000_000,
        matmul_rate=1e11,
        on_gpu=False,
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("tied", [True, None])
def test_counted_parameters_equal_the_network(family, pairs, tied):
    decoder_depth = 2 if pairs else None
    model = Model(family=family, depth=3, decoder_depth=decoder_depth, width=96, tied=tied)
    shape = derive_any_shape(model, 500, pairs)
    config = RecurrentConfig(family, 500, context=32, **vars(shape))
    built = (RecurrentPairModel if pairs else RecurrentModel)(config)
    assert count_parameters(model, shape, 500) == sum(p.numel() for p in built.parameters())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", ["language-model", "translation"])
@pytest.mark.parametrize("size", ["1m", "10m", "50m"])
def test_a_size_is_met(family, task, size):
    recipe = resolved(8000 if size != "1m" else 300, task, family=family, size=size)
    shape = shape_of(recipe.model)
    found = count_parameters(recipe.model, shape, 8000 if size != "1m" else 300)
    assert found == pytest.approx(parse_size(size), rel=0.1)
    assert shape.depth == (3 if size == "50m" else 2)
    assert recipe.model.architecture is None and recipe.model.heads is None


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"heads": 4}, r"model\.heads is a setting of transformers"),
        ({"architecture": "gpt2"}, r"model\.architecture is a setting of transformers"),
        ({"decoder_depth": 2}, r"model\.decoder_depth is for pairs"),
    ],
)
def test_settings_of_other_networks_are_refused(model, message):
    with pytest.raises(InputError, match=message):
        resolved(family="lstm", **model)


def test_a_network_for_pairs_has_one_table_of_embeddings_and_an_even_width():
    with pytest.raises(InputError, match="shares its embedding"):
        resolved(task="translation", family="gru", tied=False)
    with pytest.raises(InputError, match="must be even"):
        resolved(task="translation", family="gru", width=33)
