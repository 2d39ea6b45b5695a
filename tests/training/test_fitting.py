"""Micro-batches become smaller where the usual ones do not fit, and nothing else changes."""

import re

import pytest
import torch
from brief import train, training_lines

import xunlian
from xunlian.errors import InputError
from xunlian.recipe.load import load_recipe
from xunlian.recipe.resolve import resolve
from xunlian.shards.corpus import open_corpus
from xunlian.training import fitting
from xunlian.training.fitting import fit_micro_batches, memory_of, micro_rows, with_micro_rows
from xunlian.training.objectives import objective_of
from xunlian.training.parallel import Group

ALONE = Group(0, 1, torch.device("cpu"))
STEPS = ["training.budget=3 steps", "training.batch_tokens=512", "training.precision=fp32"]


@pytest.fixture
def free(monkeypatch):
    """Sets the bytes of memory that are free."""
    return lambda count: monkeypatch.setattr(fitting, "free_memory", lambda device: count)


@pytest.fixture
def ready(tiny_corpus):
    """A resolved recipe with 8 rows in a step, and the rows of its corpus."""
    settings = ["model.context=256", "training.batch_tokens=2048", "training.optimizer=adamw"]
    recipe = load_recipe(xunlian.Recipe(), [*settings, "model.depth=2", "model.width=64"])
    corpus = open_corpus(tiny_corpus)
    recipe = resolve(
        recipe, vocab_size=corpus.vocab_size, corpus_tokens=10_000, matmul_rate=1e11, on_gpu=False
    )
    return recipe, corpus.vocab_size, objective_of(recipe, corpus).rows


def need(ready, rows: int) -> int:
    recipe, vocab_size, batches = ready
    few = with_micro_rows(recipe, rows)
    return sum(memory_of(few, vocab_size, batches, ALONE, compiled=False).values())


@pytest.mark.parametrize("fitting_rows", [8, 4, 2, 1])
def test_as_many_rows_as_fit(ready, free, fitting_rows):
    free(need(ready, fitting_rows))
    recipe, vocab_size, batches = ready
    fitted, note = fit_micro_batches(
        recipe, xunlian.Recipe().training, vocab_size, batches, ALONE, compiled=False
    )
    assert micro_rows(fitted, ALONE) == fitting_rows
    assert fitted.training.batch_tokens == recipe.training.batch_tokens
    assert (note is None) == (fitting_rows == 8)
    if note:
        assert note.startswith(f"Micro-batches of {fitting_rows * 256:,} tokens")


def test_rows_that_do_not_halve_evenly_still_divide_a_step(ready, free):
    recipe, vocab_size, batches = ready
    training = recipe.training.model_copy(update={"batch_tokens": 9 * 256})
    recipe = recipe.model_copy(update={"training": training})
    free(need(ready, 4))
    fitted, _ = fit_micro_batches(
        recipe, xunlian.Recipe().training, vocab_size, batches, ALONE, compiled=False
    )
    assert micro_rows(fitted, ALONE) == 3


def test_a_size_that_was_asked_for_is_not_changed_but_refused(ready, free):
    recipe, vocab_size, batches = ready
    free(need(ready, 4))
    with pytest.raises(InputError, match=r"a smaller training\.micro_batch_tokens\.$"):
        fit_micro_batches(
            recipe,
            with_micro_rows(recipe, 8).training,
            vocab_size,
            batches,
            ALONE,
            compiled=False,
        )


def test_where_no_row_fits_the_context_is_to_shrink(ready, free):
    recipe, vocab_size, batches = ready
    free(need(ready, 1) - 1)
    with pytest.raises(InputError, match=r"a smaller model\.context\.$"):
        fit_micro_batches(
            recipe, xunlian.Recipe().training, vocab_size, batches, ALONE, compiled=False
        )


def test_a_training_in_little_memory_learns_the_same(tiny_corpus, tmp_path, free, capsys):
    usual = train(tiny_corpus, tmp_path / "usual", *STEPS)
    tokens = usual.recipe.training.micro_batch_tokens
    corpus = open_corpus(tiny_corpus)
    rows = objective_of(usual.recipe, corpus).rows
    memory = memory_of(usual.recipe, corpus.vocab_size, rows, ALONE, compiled=False)
    free(sum(memory.values()) - 1)
    capsys.readouterr()
    small = train(tiny_corpus, tmp_path / "small", *STEPS)
    said = re.search(r"Micro-batches of ([\d,]+) tokens", capsys.readouterr().err)
    assert said and int(said[1].replace(",", "")) < tokens
    # It is written down, so it holds when the run goes on, wherever that is.
    assert small.recipe.training.micro_batch_tokens == int(said[1].replace(",", ""))
    assert said[0] in " ".join(small.facts()["notes"])
    for one, other in zip(training_lines(usual), training_lines(small), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


class BesideAFullOne(Group):
    """A process whose neighbour has no memory left."""

    def sum(self, *values: float) -> list[float]:
        return [value + 1 for value in values]


def test_all_processes_take_what_fits_in_each(ready, free):
    recipe, vocab_size, batches = ready
    free(need(ready, 8))
    group = BesideAFullOne(0, 1, torch.device("cpu"))
    fitted, _ = fit_micro_batches(
        recipe, xunlian.Recipe().training, vocab_size, batches, group, compiled=False
    )
    assert micro_rows(fitted, group) == 1
