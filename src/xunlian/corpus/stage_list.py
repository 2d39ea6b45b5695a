"""Which stages a corpus asks for, in their order, and how each is made of its pure functions."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from xunlian.corpus.clean import clean_all, is_blank
from xunlian.corpus.columns import Columns
from xunlian.corpus.line import Outcome, Stage
from xunlian.corpus.reading.sources import find_sources
from xunlian.files import sha256
from xunlian.recipe.settings import Corpus as CorpusSettings

Function = Callable[[Columns], Outcome]


PAGE_FORMATS = ("html", "warc", "zip", "tar")
"""Files that may hold web pages."""


def stages_of(corpus: CorpusSettings, held_out: bool, pages: bool) -> list[Stage]:
    """The stages of text to train on, or of text `held_out`: what the user gives to validate on is
    cleaned likewise, but nothing of it is left out. `pages`: there may be web pages."""
    stages = []
    if pages:
        mode = corpus.clean.html if corpus.clean else "fast"
        stages.append(Stage("extract", mode, (), lambda: _extract(mode)))
    stages.append(Stage("clean", _plain(corpus.clean), (), lambda: _clean(corpus)))
    if corpus.language and not held_out:
        notes = [("language", pa.string()), ("language_confidence", pa.float32())]
        stages.append(Stage("language", _plain(corpus.language), notes, lambda: _language(corpus)))
    if corpus.quality and not held_out:
        file = corpus.quality.classifier
        trained = [sha256(Path(file))] if file and Path(file).is_file() else []
        settings = [_plain(corpus.quality), *trained] if trained else _plain(corpus.quality)
        stages.append(Stage("quality", settings, (), lambda: _quality(corpus)))
    if corpus.privacy:
        stages.append(Stage("privacy", _plain(corpus.privacy), (), lambda: _privacy(corpus)))
    if corpus.decontaminate and corpus.decontaminate.sets and not held_out:
        settings = [_plain(corpus.decontaminate), _stamps(corpus.decontaminate.sets)]
        make = partial(_decontaminate, corpus, str(settings))
        stages.append(Stage("decontaminate", settings, (), make))
    return stages


def _extract(mode: Literal["fast", "precision"]) -> Function:
    """The text of web pages; other documents pass. Its library is loaded with the first page."""
    extractor = None

    def run(rows: Columns) -> Outcome:
        nonlocal extractor
        texts: list[str] = list(rows["text"])
        dropped: list[str | None] = [None] * len(texts)
        pages = [i for i, kind in enumerate(rows["kind"]) if kind == "html"]
        if pages:
            from xunlian.corpus.stages.html import make_extractor

            extractor = extractor or make_extractor(mode)
            found, reasons = extractor([texts[i] for i in pages])
            for i, text, reason in zip(pages, found, reasons, strict=True):
                texts[i], dropped[i] = text, reason
        return Outcome(texts, dropped, {}, {"pages": len(pages)} if pages else {})

    return run


def _clean(corpus: CorpusSettings) -> Function:
    """Always: line ends, control characters, NFC. With a table: all that it says."""
    cleaner = None
    if corpus.clean:
        from xunlian.corpus.stages.clean import make_cleaner

        cleaner = make_cleaner(corpus.clean)

    def run(rows: Columns) -> Outcome:
        changes: Counter[str] = Counter()
        if cleaner:  # which does what `clean_all` does, too, but behind the repair of mojibake
            texts, changes = cleaner(rows["text"])
        else:
            texts = clean_all(rows["text"], changes)
        blank: Sequence[str | None] = ["blank" if is_blank(text) else None for text in texts]
        return Outcome(texts, blank if cleaner else [None] * len(texts), {}, changes)

    return run


def _language(corpus: CorpusSettings) -> Function:
    from xunlian.corpus.stages.language import make_identifier, verdicts

    assert corpus.language
    settings, identify = corpus.language, make_identifier()

    def run(rows: Columns) -> Outcome:
        found = identify(rows["text"])
        notes: Columns = {
            "language": [one.variant or one.code for one in found],
            "language_confidence": [one.confidence for one in found],
        }
        return Outcome(rows["text"], verdicts(found, settings), notes, {})

    return run


def _quality(corpus: CorpusSettings) -> Function:
    from xunlian.corpus.stages.quality import judge

    assert corpus.quality
    settings = corpus.quality

    judge([], settings)  # says at once what is wrong with lists or classifier
    last: tuple[str, str | None] = "", None

    def run(rows: Columns) -> Outcome:
        nonlocal last
        verdicts = judge(rows["text"], settings, rows.get("language"))
        reasons = verdicts.reasons
        for i, (identity, first) in enumerate(zip(rows["id"], rows["first"], strict=True)):
            if not first and identity == last[0]:
                reasons[i] = last[1]  # a long document goes by its beginning
            last = identity, reasons[i]
        return Outcome(verdicts.texts, reasons, {}, verdicts.changes)

    return run


def _privacy(corpus: CorpusSettings) -> Function:
    from xunlian.corpus.stages.privacy import mask

    assert corpus.privacy
    settings = corpus.privacy

    def run(rows: Columns) -> Outcome:
        texts, counts = mask(rows["text"], settings.mask, settings.placeholder)
        return Outcome(texts, [None] * len(texts), {}, counts)

    return run


def _decontaminate(corpus: CorpusSettings, state: str) -> Function:
    from xunlian.corpus.stages.contamination import contaminated

    assert corpus.decontaminate
    settings = corpus.decontaminate
    index = _index(settings.sets, settings.tokens, state)

    def run(rows: Columns) -> Outcome:
        verdicts, hits = contaminated(rows["text"], index, settings.overlap)
        if settings.action == "report":
            verdicts = [None] * len(verdicts)
        return Outcome(rows["text"], verdicts, {}, {f"like_{name}": n for name, n in hits.items()})

    return run


@lru_cache(1)
def _index(sets: tuple[str, ...], tokens: int, state: str) -> Any:
    """Made once in each process; `state` tells other contents of the same files apart."""
    from xunlian.corpus.stages.contamination import make_index, read_sets

    return make_index(read_sets(sets), tokens)


def _stamps(names: Sequence[str]) -> list[Any]:
    return [[source.name, source.stamp()] for source in find_sources(names)]


def _plain(table: Any) -> Any:
    return table.model_dump(mode="json") if table else None
