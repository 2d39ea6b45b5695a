"""`xunlian prepare --dry-run --show N`: a few documents before and after, and nothing written."""

import difflib
from collections import Counter
from collections.abc import Iterator, Sequence

from xunlian.corpus.build import find_inputs
from xunlian.corpus.preview import Preview, preview
from xunlian.corpus.stage_list import stages_of
from xunlian.recipe.settings import Corpus as CorpusSettings

_LINES, _WIDTH = 12, 200  # shown of a document


def show_preview(corpus: CorpusSettings, count: int) -> None:
    """Print `count` documents to standard output, with what the stages would make of them.

    Raises:
        InputError: as `prepare`.
    """
    sources, _, _ = find_inputs(corpus)
    files = [source for group in sources.values() for source in group]
    stages = stages_of(corpus, held_out=False, pages=True)
    verdicts: Counter[str] = Counter()
    for number, document in enumerate(preview(files, corpus, stages, count), 1):
        verdict = _verdict(document)
        verdicts[verdict] += 1
        notes = ", ".join(f"{name} {_short(value)}" for name, value in document.notes.items())
        print(f"── {number}  {document.id}  {f'({notes})  ' if notes else ''}{verdict}")
        print("\n".join(_body(document)) + "\n")
    print(
        f"{sum(verdicts.values())} documents: " + ", ".join(f"{n} {v}" for v, n in verdicts.items())
    )
    if corpus.deduplicate:
        print("Copies are found over the whole corpus only, so none were looked for here.")


def _verdict(document: Preview) -> str:
    if document.after is None:
        return f"left out by {document.stage}: {document.reason.replace('_', ' ')}"
    return "kept as it is" if document.after == document.before else "changed"


def _body(document: Preview) -> Iterator[str]:
    before = document.before.split("\n")
    if document.after is None or document.after == document.before:
        yield from _cut(["  " + line for line in before])
        return
    lines = difflib.unified_diff(before, document.after.split("\n"), n=0, lineterm="")
    yield from _cut([line for line in lines if not line.startswith(("---", "+++", "@@"))])


def _cut(lines: Sequence[str]) -> Iterator[str]:
    for line in lines[:_LINES]:
        yield line if len(line) <= _WIDTH else f"{line[:_WIDTH]} ..."
    if len(lines) > _LINES:
        yield f"  ... {len(lines) - _LINES:,} more lines"


def _short(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
