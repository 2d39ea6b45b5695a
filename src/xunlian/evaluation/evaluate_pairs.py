"""An encoder-decoder on pairs: from the files or the corpus that are named to the whole result."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xunlian.console import progress, say, warn
from xunlian.corpus.pairs.read import find_languages, find_pairs
from xunlian.corpus.reading.tmx import Languages
from xunlian.decoding.translator import prepare_translator
from xunlian.evaluation.evaluate_text import is_corpus, precision_of
from xunlian.evaluation.pair_texts import corpus_pairs, file_pairs, guess_language
from xunlian.evaluation.translation import DEFAULTS, measure
from xunlian.files import write_text
from xunlian.recipe.settings import PAIR_TASKS, Recipe
from xunlian.runs.load import Loaded, in_languages
from xunlian.shards.corpus import open_corpus

HOW = "corpus.source_language=... and corpus.target_language=..."


def evaluate_pairs(
    recipe: Recipe,
    loaded: Loaded,
    paths: list[str],
    *,
    metrics: Sequence[str],
    bootstrap: int | None,
    output: str | Path | None,
) -> dict[str, Any]:
    """Translate and score the pairs of `paths`; as `xunlian.evaluate` returns it.

    Args:
        paths: files of pairs, or one corpus folder.
        metrics: those of the task when empty.
        bootstrap, output: as `xunlian.evaluate` takes them.

    Raises:
        InputError: the pairs are missing, broken or empty, or a setting is not possible.
    """
    task = recipe.task if recipe.task in PAIR_TASKS else PAIR_TASKS[0]
    if is_corpus(paths):
        pairs = corpus_pairs(Path(paths[0]), loaded.tokenizers)
    else:
        if loaded.frames is None:
            languages = find_languages(find_pairs(paths), recipe.corpus)
            loaded = in_languages(loaded, *languages, how=HOW)
        assert loaded.frames is not None
        known = _languages(recipe)
        pairs = file_pairs(paths, recipe.corpus, known, loaded.tokenizers, loaded.frames)
    language = recipe.corpus.target_language or pairs.languages[1]
    if language is None:
        language = guess_language([several[0] for several in pairs.references])
        say(
            f"Scored as '{language}' by the script of the references; corpus.target_language=... "
            "names another."
        )
    translator = prepare_translator(replace(loaded, decoding=recipe.decoding), precision_of(recipe))
    with progress() as bar:
        shown = bar.add_task("translate", total=len(pairs.sources))
        found = measure(
            translator,
            pairs,
            translator.search(cut=task == "summarization"),
            metrics or DEFAULTS[task],
            task=task,
            language=language,
            bootstrap=bootstrap,
            decode=output is not None,
            progress=lambda done: bar.advance(shown, done),
        )
    if found.notes:
        warn(found.notes)
    if output is not None:
        lines = [""] * pairs.count
        for place, text in zip(pairs.places, found.hypotheses, strict=True):
            lines[place] = text
        write_text(Path(output), "".join(f"{line}\n" for line in lines))
    return {
        "scores": found.scores,
        "signatures": found.signatures,
        "intervals": found.intervals,
        "baselines": found.baselines,
        "data": pairs.name,
        "task": task,
        "language": language,
        "segments": len(pairs.sources),
        "tokens": sum(len(tokens) for tokens in pairs.target_tokens),
        "left_out": found.left_out,
    }


def _languages(recipe: Recipe) -> Languages:
    """Those of the corpus that the run was trained on, if it is there."""
    if recipe.corpus.path is None or not is_corpus([recipe.corpus.path]):
        return None, None
    known = open_corpus(recipe.corpus.path).languages
    return known["source"], known["target"]
