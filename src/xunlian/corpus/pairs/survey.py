"""The two readings of a corpus of pairs: one that judges every pair, one that takes what stays.

The verdicts of the first, a byte a pair, steer the second; so the hashes of all pairs, which find
the duplicates, are needed only once.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path

from xunlian.console import progress
from xunlian.corpus.pairs.clean import REASONS, PairFilter, clean_pair, empty_side
from xunlian.corpus.pairs.read import Pair, PairSource, find_languages, find_pairs, read_pairs
from xunlian.corpus.reading.tmx import Languages
from xunlian.corpus.reading.trouble import Advance, ignore
from xunlian.corpus.sample import Sampler
from xunlian.corpus.split import Holdout, parse_holdout
from xunlian.errors import InputError
from xunlian.recipe.settings import Recipe

_BATCH_PAIRS = 4096  # judged at once
_BATCH_CHARACTERS = 1_000_000
_DROPPED, _TRAIN, _VAL = 0, 1, 2


@dataclass
class Reading:
    """What is read, and how: the files to train and to validate on, or the share held out."""

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


def find_reading(recipe: Recipe) -> Reading:
    """What `recipe.corpus` names. Raises InputError when a part of it is missing."""
    corpus = recipe.corpus
    if not corpus.sources:
        raise InputError("Nothing to prepare: name files of pairs, or set corpus.sources.")
    train = find_pairs(corpus.source_paths)
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
    return Reading(recipe, train, val, holdout, find_languages([*train, *val], corpus))


@dataclass
class PairSurvey:
    """What the first pass found.

    Attributes:
        verdicts: for each pair read, whether it is dropped, trained on or held out.
        bytes: of the pairs to train on, of each side.
        samples: of the pairs to train on, of each side, or one and the same of both, for the
            tokenizers.
        dropped: how many, by reason.
    """

    samples: list[Sampler]
    verdicts: bytearray = field(default_factory=bytearray)
    bytes: list[int] = field(default_factory=lambda: [0, 0])
    dropped: Counter[str] = field(default_factory=Counter)


def survey_pairs(reading: Reading) -> PairSurvey:
    """The first pass, over the pairs to train on.

    Raises:
        InputError: a file is broken, or no pair is left.
    """
    recipe = reading.recipe
    samples = [Sampler(recipe.tokenizer.sample_bytes) for _ in range(2)]
    found = PairSurvey(samples if recipe.tokenizer.separate else [samples[0]] * 2)
    limit = recipe.corpus.max_length_ratio if recipe.task == "translation" else 0
    rules = PairFilter(limit, reading.languages)
    for batch in _judged_at_once(reading.read(reading.val, Counter(), Counter(), ignore)):
        rules.hold_out(batch)
    kept = 0
    with progress() as bar:
        task = bar.add_task("read", total=size(reading.train))
        pairs = reading.read(
            reading.train, found.dropped, Counter(), lambda amount: bar.advance(task, amount)
        )
        for batch in _judged_at_once(pairs):
            for pair, reason in zip(batch, rules.reasons(batch), strict=True):
                if reason:
                    found.dropped[reason] += 1
                    found.verdicts.append(_DROPPED)
                    continue
                held_out = reading.holdout.is_held_out(kept)
                found.verdicts.append(_VAL if held_out else _TRAIN)
                kept += 1
                if not held_out:
                    for side, text in enumerate(pair):
                        found.samples[side].add(text)
                        found.bytes[side] += len(text) if text.isascii() else len(text.encode())
    _check(found, reading)
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


def _check(found: PairSurvey, reading: Reading) -> None:
    count, name = len(found.verdicts), reading.train[0].name
    if not any(found.verdicts):
        reasons = ", ".join(
            f"{found.dropped[key]:,} {key}" for key in REASONS if found.dropped[key]
        )
        more = " and others" if len(reading.train) > 1 else ""
        raise InputError(
            f"No pair is left to train on: '{name}'{more} had {count:,}"
            f"{', dropped were ' + reasons if reasons else ''}."
        )
    if (reading.holdout.fraction and _VAL not in found.verdicts) or _TRAIN not in found.verdicts:
        kept = count - found.verdicts.count(_DROPPED)
        raise InputError(
            f"{kept:,} pairs are too few to hold out {float(reading.holdout.fraction):g} of them. "
            "Use --val 0, or files."
        )


def kept_pairs(
    reading: Reading,
    found: PairSurvey,
    changes: Counter[str],
    advance: Advance,
) -> Iterator[tuple[str, Pair]]:
    """('train' or 'val', a pair that stays): the second pass.

    Args:
        found: what is dropped from the validation files is added to its counts.
        changes: what cleaning changed is added here.
    """
    again = reading.read(reading.train, Counter(), changes, advance)
    for pair, verdict in zip_longest(again, found.verdicts):
        if pair is None or verdict is None:
            raise InputError(
                "The files changed between two readings; a pipe cannot be read twice either. "
                "Prepare files that stay."
            )
        if verdict != _DROPPED:
            yield ("train" if verdict == _TRAIN else "val"), pair
    for pair in reading.read(reading.val, found.dropped, changes, advance):
        if reason := empty_side(pair):
            found.dropped[reason] += 1
        else:
            yield "val", pair


def size(pairs: list[PairSource]) -> int:
    """Bytes of the files."""
    return sum(file.size for pair in pairs for file in pair.files)


def _paths(pair: PairSource) -> tuple[Path, ...]:
    return tuple(file.path.resolve() for file in pair.files)
