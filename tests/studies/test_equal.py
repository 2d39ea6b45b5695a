"""Every family has the size that was told, and nearly the same one."""

import pytest

from xunlian.errors import InputError
from xunlian.recipe import Recipe
from xunlian.recipe.resolve import resolve
from xunlian.studies.equal import FAMILIES, equal_recipes, family_names
from xunlian.training.networks import build_model


def recipe(task="language-model", **model):
    return Recipe.model_validate({"task": task, "model": {"context": 64, **model}})


def built(recipe, vocab_size):
    """The parameters of the network itself."""
    resolved = resolve(
        recipe, vocab_size=vocab_size, corpus_tokens=10**6, matmul_rate=1e11, on_gpu=False
    )
    return sum(weight.numel() for weight in build_model(resolved, vocab_size).parameters())


@pytest.mark.parametrize(
    "task, size, vocab_size",
    [
        ("language-model", "150k", 70),
        ("language-model", "2m", 300),
        ("language-model", "5m", 8000),
        ("translation", "2m", 1000),
        ("summarization", "8m", 8000),
    ],
)
def test_families_have_nearly_as_many_parameters_as_told(task, size, vocab_size):
    found = equal_recipes(recipe(task, size=size), FAMILIES, vocab_size)
    wanted = found["transformer"][1]
    for family, (equal, parameters) in found.items():
        assert equal.model.family == family
        assert parameters == built(equal, vocab_size)
        assert parameters == pytest.approx(wanted, rel=0.04)


def test_the_recipes_own_family_keeps_its_shape_and_the_others_come_to_it():
    given = recipe(family="transformer", depth=3, width=96, heads=3)
    found = equal_recipes(given, ["gru", "transformer"], 100)
    assert found["transformer"][0] == given
    assert found["gru"][1] == pytest.approx(built(given, 100), rel=0.04)
    backwards = equal_recipes(found["gru"][0], ["transformer"], 100)
    assert backwards["transformer"][1] == pytest.approx(found["gru"][1], rel=0.04)


def test_what_no_family_can_have_is_said():
    with pytest.raises(InputError, match="nearest"):
        equal_recipes(recipe(size="20k"), ["lstm"], 60_000)
    with pytest.raises(InputError, match="init_from"):
        equal_recipes(recipe(size="2m", init_from="runs/small-1"), ["lstm"], 300)


def test_names_of_families():
    assert family_names("RNN, lstm,rnn") == ["rnn", "lstm"]
    assert family_names(["transformer"]) == ["transformer"]
    with pytest.raises(InputError, match="Did you mean 'transformer'"):
        family_names("rnn,transfomer")
    with pytest.raises(InputError, match="at least one"):
        family_names(" , ")
