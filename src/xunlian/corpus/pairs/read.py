"""Pairs out of files: two aligned text files, or one file that holds both sides."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from xunlian.corpus.clean import count_han
from xunlian.corpus.pairs.aligned import read_aligned
from xunlian.corpus.reading.decode import decode
from xunlian.corpus.reading.languages import language_of_file
from xunlian.corpus.reading.parquet import read_parquet
from xunlian.corpus.reading.records import Fields, Rows, read_csv, read_jsonl, read_tsv
from xunlian.corpus.reading.sources import PAIR_FORMATS, Source, expand_source
from xunlian.corpus.reading.tmx import Languages, read_tmx, tmx_languages
from xunlian.corpus.reading.trouble import LIMITS, Advance, BrokenRecords, ignore
from xunlian.corpus.reading.unpack import read_bytes, spooled, watched
from xunlian.errors import InputError
from xunlian.recipe.settings import Corpus as CorpusSettings

Pair = tuple[str, str]
"""A source and its target."""


@dataclass(frozen=True)
class PairSource:
    """Where pairs come from: one file, or the source's and the target's."""

    files: tuple[Source, ...]

    @property
    def name(self) -> str:
        return " ".join(file.name for file in self.files)


def find_pairs(inputs: Sequence[str]) -> list[PairSource]:
    """The files behind `inputs`, in order; text files are taken two by two.

    A folder or glob gives its files that hold both sides; aligned files are named one by one.

    Raises:
        InputError: something is missing or empty, or a text file has no partner.
    """
    found: list[PairSource] = []
    waiting: Source | None = None
    for source in [file for given in inputs for file in expand_source(str(given), PAIR_FORMATS)]:
        if waiting:
            if source.format != "txt":
                raise _no_partner(waiting)
            found.append(PairSource((waiting, source)))
            waiting = None
        elif source.format == "txt":
            waiting = source
        else:
            found.append(PairSource((source,)))
    if waiting:
        raise _no_partner(waiting)
    return found


def find_languages(pairs: Iterable[PairSource], settings: CorpusSettings) -> Languages:
    """The languages of the two sides: as set, else by the files' endings or what a TMX says.

    Raises:
        InputError: two files stand the other way round than the languages known before.
    """
    source, target = settings.source_language, settings.target_language
    for pair in pairs:
        first, second = _languages_of(pair)
        if first is None or second is None or first == second:
            continue
        if (first, second) == (target, source):
            raise InputError(
                f"'{pair.name}' goes from {first} to {second}, but the pairs go from {source} to "
                f"{target}. Name the {source} file first."
            )
        source, target = source or first, target or second
    return source, target


def read_pairs(
    pairs: Iterable[PairSource],
    settings: CorpusSettings,
    languages: Languages,
    counts: Counter[str],
    advance: Advance,
) -> Iterator[Pair]:
    """All pairs, in order, as they stand in the files.

    Args:
        counts: 'broken_records' are added here.

    Raises:
        InputError: a file cannot be read, or its sides do not match.
    """
    for source, targets in read_references(pairs, settings, languages, counts, advance):
        yield source, targets[0] if targets else ""


def read_references(
    pairs: Iterable[PairSource],
    settings: CorpusSettings,
    languages: Languages,
    counts: Counter[str],
    advance: Advance,
) -> Iterator[tuple[str, Sequence[str]]]:
    """As `read_pairs`, each source with all its targets.

    A record's target may be a list of texts, all of them right; its source a list of sentences,
    which are joined.
    """
    for pair in pairs:
        if len(pair.files) == 2:
            for source, target in read_aligned(*pair.files, settings.encoding, advance):
                yield source, (target,)
        elif pair.files[0].format == "tmx":
            for source, target in read_tmx(pair.files[0], languages, advance):
                yield source, (target,)
        else:
            for source, target in _read_rows(pair.files[0], settings, counts, advance):
                yield _joined(source), (target,) if isinstance(target, str) else target


def _joined(sentences: str | list[str]) -> str:
    if isinstance(sentences, str):
        return sentences
    bare = "".join(sentences)
    return bare if 3 * count_han(bare) > len(bare) else " ".join(sentences)


def _read_rows(
    source: Source, settings: CorpusSettings, counts: Counter[str], advance: Advance
) -> Rows:
    fields = {"source_field": settings.source_field, "target_field": settings.target_field}
    if source.format == "parquet":
        return _read_parquet(source, fields, advance)
    blocks = read_bytes(source, advance)
    broken = BrokenRecords(source.name, settings.on_error, counts)
    if source.format == "jsonl":
        return read_jsonl(blocks, fields, settings.encoding, broken, lists=True)
    text = decode(blocks, source.name, settings.encoding)
    return (read_csv if source.format == "csv" else read_tsv)(text, fields, broken)


def _read_parquet(source: Source, fields: Fields, advance: Advance) -> Rows:
    if source.compression:
        with spooled(read_bytes(source, advance), source.name, LIMITS.spooled) as file:
            yield from read_parquet(file, source.name, fields, ignore, lists=True)
    else:
        with watched(source), source.open() as file:
            yield from read_parquet(file, source.name, fields, advance, source.size, lists=True)


def _languages_of(pair: PairSource) -> Languages:
    if len(pair.files) == 2:
        return language_of_file(pair.files[0].path), language_of_file(pair.files[1].path)
    if pair.files[0].format == "tmx":
        return tmx_languages(pair.files[0])
    return None, None


def _no_partner(source: Source) -> InputError:
    return InputError(
        f"'{source.name}' has no partner: text files are taken two by two, source before target. "
        f"Files with both sides end in {', '.join(PAIR_FORMATS)}."
    )
