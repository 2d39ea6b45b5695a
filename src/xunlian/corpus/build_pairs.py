"""Files of pairs in, corpus folder out: the whole preparation, in two passes over the text.

1. Read, clean and judge every pair once: note which stay, and keep a bounded sample of both sides
   for one joint tokenizer.
2. Read them again: encode in several processes, write a column of shards for each side.

Document number i of the column 'source' belongs to document i of the column 'target'. Memory is
bounded by the sample and a few batches, but for one byte a pair (whether it stays) and the hashes
that find duplicates (8 to 16 bytes a pair, until the second pass). The result does not depend on
the number of workers. The folder appears whole or not at all.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path
from typing import Any

import xunlian
from xunlian.console import progress
from xunlian.corpus.build import FERTILITY_BYTES, in_batches, overall
from xunlian.corpus.decode import Advance
from xunlian.corpus.encode import Sequenced
from xunlian.corpus.fertility import fertility
from xunlian.corpus.pair_clean import REASONS, PairFilter, clean_pair, empty_side
from xunlian.corpus.pairs import Pair, PairSource, find_languages, find_pairs, read_pairs
from xunlian.corpus.sample import Sampler, texts
from xunlian.corpus.sources import Source
from xunlian.corpus.split import Holdout, parse_holdout
from xunlian.corpus.tmx import Languages
from xunlian.corpus.vocabulary import make_tokenizer
from xunlian.corpus.workers import choose_workers, encode_all
from xunlian.errors import InputError
from xunlian.files import atomic_folder, write_json
from xunlian.recipe.settings import Recipe
from xunlian.shards.corpus import CARD, FORMAT, Corpus, open_corpus
from xunlian.shards.format import token_dtype
from xunlian.shards.writer import SHARD_TOKENS, ShardWriter
from xunlian.tokenizer.train import KINDS

COLUMNS = ("source", "target")
SPLITS = ("train", "val")
_COUNTS = ("tokens", "bytes", "characters", "words")
_BATCH_PAIRS = 4096  # judged at once
_BATCH_CHARACTERS = 1_000_000
_DROPPED, _TRAIN, _VAL = 0, 1, 2


def build_pair_corpus(
    recipe: Recipe,
    out: Path,
    workers: int | None = None,
    shard_tokens: int = SHARD_TOKENS,
) -> Corpus:
    """Prepare the pairs of `recipe.corpus.sources` into the folder `out`.

    Args:
        recipe: its task is 'translation' or 'summarization'.
        workers: processes that encode; by default as many as there are cores.
        shard_tokens: where to begin the next shard.

    Raises:
        InputError: `out` exists, or anything is wrong with the files or the settings. Nothing is
            left behind.
    """
    reader = _find(recipe)
    with atomic_folder(out) as folder:
        found = _first_pass(reader)
        model = make_tokenizer(
            recipe.tokenizer, lambda: texts(found.sample.excerpts()), found.bytes, pad=True
        )
        seen = list(texts(found.sample.excerpts()))[: FERTILITY_BYTES // 16_000]
        found.sample = Sampler(0)
        model.save(folder)
        dtype = token_dtype(model.vocab_size)
        workers = workers or choose_workers(found.bytes)
        dropped, changes = found.dropped, Counter[str]()
        totals = {f"{split}.{column}": Counter[str]() for split in SPLITS for column in COLUMNS}
        val_sample = Sampler(FERTILITY_BYTES)
        with ExitStack() as stack:
            writers = {
                name: stack.enter_context(
                    ShardWriter(folder, split, dtype, shard_tokens, column=column)
                )
                for name in totals
                for split, column in [name.split(".")]
            }
            bar = stack.enter_context(progress())
            task = bar.add_task("encode", total=_size(reader.train) + _size(reader.val))

            def advance(amount: int) -> None:
                bar.advance(task, amount)

            items = _both_sides(_second_pass(reader, found, dropped, changes, advance), val_sample)
            for parts, _ in encode_all(in_batches(items), model, folder, dtype, workers):
                for name, part in parts.items():
                    writers[name].write(part.tokens, part.lengths, part.starts)
                    totals[name].update(part.counts)
        splits = {
            split: _split_card(
                {column: totals[f"{split}.{column}"] for column in COLUMNS},
                [shard for column in COLUMNS for shard in writers[f"{split}.{column}"].shards],
            )
            for split in SPLITS
        }
        if reader.val and not splits["val"]["pairs"]:
            raise InputError(f"'{reader.val[0].name}' has no pair to validate on.")
        measured = list(texts(val_sample.excerpts())) or seen
        write_json(
            folder / CARD,
            {
                "format": FORMAT,
                "xunlian": xunlian.__version__,
                "task": recipe.task,
                "languages": dict(zip(COLUMNS, reader.languages, strict=True)),
                "sources": _names(reader.train),
                "val": _names(reader.val) if reader.val else recipe.corpus.val[0],
                "reading": recipe.corpus.model_dump(
                    include={"source_field", "target_field", "encoding", "max_length_ratio"}
                ),
                "dropped": {key: dropped[key] for key in (*REASONS, "broken_records")},
                "cleaned": {
                    key: changes[key]
                    for key in ("line_ends", "control_characters", "pieces_normalized")
                },
                "splits": splits,
                "tokenizer": {
                    "kind": recipe.tokenizer.kind if recipe.tokenizer.kind in KINDS else "given",
                    "vocab_size": model.vocab_size,
                    "end_id": model.end_id,
                    "pad_id": model.end_id if model.pad_id is None else model.pad_id,
                    "fingerprint": model.fingerprint,
                },
                "fertility": overall(splits) | fertility(measured, model),
                "dtype": dtype.name,
            },
        )
    return open_corpus(out)


@dataclass
class _Reader:
    """What is read, and how."""

    recipe: Recipe
    train: list[PairSource]
    val: list[PairSource]
    holdout: Holdout
    languages: Languages

    def read(
        self,
        pairs: list[PairSource],
        counts: Counter[str],
        changes: Counter[str],
        advance: Advance,
    ) -> Iterator[Pair]:
        """The cleaned pairs."""
        for pair in read_pairs(pairs, self.recipe.corpus, self.languages, counts, advance):
            yield clean_pair(pair, changes)


def _find(recipe: Recipe) -> _Reader:
    corpus = recipe.corpus
    if not corpus.sources:
        raise InputError("Nothing to prepare: name files of pairs, or set corpus.sources.")
    train = find_pairs(corpus.sources)
    holdout = parse_holdout(corpus.val)
    val: list[PairSource] = []
    if holdout is None:
        holdout = Holdout(Fraction(0))
        val = find_pairs(corpus.val)
        held_out = {_paths(pair) for pair in val}
        # Validation files inside the folder to train on must not be trained on.
        train = [pair for pair in train if _paths(pair) not in held_out]
        if not train:
            raise InputError(
                f"corpus.val = '{', '.join(corpus.val)}' is all there is: nothing is left to "
                "train on."
            )
    return _Reader(recipe, train, val, holdout, find_languages([*train, *val], corpus))


@dataclass
class _Found:
    """What the first pass found.

    Attributes:
        verdicts: for each pair read, whether it is dropped, trained on or held out.
        bytes: of the pairs to train on, both sides.
        sample: of the pairs to train on, for the tokenizer.
    """

    sample: Sampler
    verdicts: bytearray = field(default_factory=bytearray)
    bytes: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


def _first_pass(reader: _Reader) -> _Found:
    recipe = reader.recipe
    found = _Found(Sampler(recipe.tokenizer.sample_bytes))
    limit = recipe.corpus.max_length_ratio if recipe.task == "translation" else 0
    rules = PairFilter(limit, reader.languages)
    kept = 0
    with progress() as bar:
        task = bar.add_task("read", total=_size(reader.train))
        pairs = reader.read(
            reader.train, found.dropped, Counter(), lambda amount: bar.advance(task, amount)
        )
        for batch in _judged_at_once(pairs):
            for pair, reason in zip(batch, rules.reasons(batch), strict=True):
                if reason:
                    found.dropped[reason] += 1
                    found.verdicts.append(_DROPPED)
                    continue
                held_out = reader.holdout.is_held_out(kept)
                found.verdicts.append(_VAL if held_out else _TRAIN)
                kept += 1
                if not held_out:
                    for text in pair:
                        found.sample.add(text)
                        found.bytes += len(text) if text.isascii() else len(text.encode())
    _check(found, reader)
    return found


def _judged_at_once(pairs: Iterator[Pair]) -> Iterator[list[Pair]]:
    batch: list[Pair] = []
    characters = 0
    for pair in pairs:
        batch.append(pair)
        characters += len(pair[0]) + len(pair[1])
        if characters >= _BATCH_CHARACTERS or len(batch) >= _BATCH_PAIRS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _check(found: _Found, reader: _Reader) -> None:
    count, name = len(found.verdicts), reader.train[0].name
    if not any(found.verdicts):
        reasons = ", ".join(
            f"{found.dropped[key]:,} {key}" for key in REASONS if found.dropped[key]
        )
        more = " and others" if len(reader.train) > 1 else ""
        raise InputError(
            f"No pair is left to train on: '{name}'{more} had {count:,}"
            f"{', dropped were ' + reasons if reasons else ''}."
        )
    if (reader.holdout.fraction and _VAL not in found.verdicts) or _TRAIN not in found.verdicts:
        kept = count - found.verdicts.count(_DROPPED)
        raise InputError(
            f"{kept:,} pairs are too few to hold out {float(reader.holdout.fraction):g} of them. "
            "Use --val 0, or files."
        )


def _second_pass(
    reader: _Reader,
    found: _Found,
    dropped: Counter[str],
    changes: Counter[str],
    advance: Advance,
) -> Iterator[tuple[str, Pair]]:
    """('train' or 'val', a pair that stays), all of them."""
    again = reader.read(reader.train, Counter(), changes, advance)
    for pair, verdict in zip_longest(again, found.verdicts):
        if pair is None or verdict is None:
            raise InputError("The files changed while they were read. Prepare them again.")
        if verdict != _DROPPED:
            yield ("train" if verdict == _TRAIN else "val"), pair
    for pair in reader.read(reader.val, dropped, changes, advance):
        if reason := empty_side(pair):
            dropped[reason] += 1
        else:
            yield "val", pair


def _both_sides(pairs: Iterable[tuple[str, Pair]], val_sample: Sampler) -> Iterator[Sequenced]:
    """Each side on its way to its column, one sequence each."""
    for split, pair in pairs:
        for column, text in zip(COLUMNS, pair, strict=True):
            if split == "val":
                val_sample.add(text)
            yield Sequenced(text, f"{split}.{column}", first=True, last=True)


def _split_card(columns: dict[str, Counter[str]], shards: list[dict[str, Any]]) -> dict[str, Any]:
    pairs = columns["source"]["documents"]
    assert pairs == columns["target"]["documents"]
    sides = {name: {key: counts[key] for key in _COUNTS} for name, counts in columns.items()}
    both = {key: sum(side[key] for side in sides.values()) for key in _COUNTS}
    return {"pairs": pairs, "documents": pairs, **both, "columns": sides, "shards": shards}


def _files(pairs: list[PairSource]) -> Iterator[Source]:
    for pair in pairs:
        yield from pair.files


def _names(pairs: list[PairSource]) -> list[dict[str, Any]]:
    return [{"name": file.name, "bytes": file.size} for file in _files(pairs)]


def _size(pairs: list[PairSource]) -> int:
    return sum(file.size for file in _files(pairs))


def _paths(pair: PairSource) -> tuple[Path, ...]:
    return tuple(file.path.resolve() for file in pair.files)
