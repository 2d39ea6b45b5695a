"""Files of conversations in, a chat corpus out; or of preferences, and a corpus of these.

    train-00000.bin        the tokens that the chat template makes, a conversation a document
    train-00000.mask.bin   for each: 0 read, 1 learned; 2 is added where a user's turn begins
                           (a rated conversation is a document for each of its ratings)
    chat_template.jinja    beside the tokenizer, as Transformers takes it

A corpus of preferences has two such pairs of files, train-00000.chosen.bin and .chosen.mask.bin,
and the same of `rejected`: each side is a whole conversation, and learned is what follows the turns
that both begin with.

Two readings: the first judges (survey.py), the second encodes. The folder appears whole or not at
all; the same input gives the same bytes.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import xunlian
from xunlian.console import progress
from xunlian.corpus.chat.survey import (
    DROPPED,
    TRAIN,
    Notes,
    Read,
    Survey,
    encode_reads,
    read_chats,
    survey_chats,
)
from xunlian.corpus.clean import count_words
from xunlian.corpus.fertility import FERTILITY_BYTES, fertility, overall
from xunlian.corpus.sample import Sampler, texts
from xunlian.errors import InputError
from xunlian.files import atomic_folder, write_json
from xunlian.recipe.settings import Recipe
from xunlian.shards.corpus import CARD, FORMAT, Corpus, open_corpus
from xunlian.shards.format import token_dtype
from xunlian.shards.writer import SHARD_TOKENS, ShardWriter
from xunlian.tokenizer.chat import LEARNED
from xunlian.tokenizer.ratings import ATTRIBUTES
from xunlian.tokenizer.train import KINDS

SPLITS = ("train", "val")
_BATCH = 512  # conversations encoded at once
_MASK_DTYPE = np.dtype("u1")


def build_chat_corpus(
    recipe: Recipe,
    out: Path,
    examples: int = 0,
    show: Callable[[Survey], None] | None = None,
    shard_tokens: int = SHARD_TOKENS,
) -> Corpus:
    """Prepare the conversations (task `chat`) or preferences of `recipe.corpus.sources` into the
    folder `out`.

    Args:
        examples: how many conversations to keep for `show`.
        show: called with what the first reading found, before anything is written.
        shard_tokens: where to begin the next shard.

    Raises:
        InputError: `out` exists, or anything is wrong with the files or the settings. Nothing is
            left behind.
    """
    with atomic_folder(out) as folder:
        found = survey_chats(recipe, examples)
        if show:
            show(found)
        found.chat.tokenizer.save(folder)
        dtype = token_dtype(found.chat.tokenizer.vocab_size)
        notes, sampler = Notes(), Sampler(FERTILITY_BYTES)
        counts = {split: Counter[str]() for split in SPLITS}
        with ExitStack() as stack:
            writers = {
                split: tuple(
                    stack.enter_context(ShardWriter(folder, split, kind, shard_tokens, column))
                    for columns in found.kind.columns
                    for kind, column in zip((dtype, _MASK_DTYPE), columns, strict=True)
                )
                for split in SPLITS
            }
            bar = stack.enter_context(progress())
            files = [*found.train, *found.val]
            task = bar.add_task("encode", total=sum(source.size for source in files))
            kept = _kept(found, notes, lambda amount: bar.advance(task, amount))
            while batch := list(islice(kept, _BATCH)):
                for split in SPLITS:
                    reads = [read for name, read in batch if name == split]
                    if reads:
                        _write(reads, found, writers[split], counts[split])
                        for read in reads:
                            for side in read.sides:
                                sampler.add("\n".join(turn["content"] for turn in side.turns))
        splits = {
            split: {
                **{name: counts[split][name] for name in _COUNTED},
                **_columns(found, counts[split]),
                **_ratings(counts[split]),
                "shards": [shard for writer in writers[split] for shard in writer.shards],
            }
            for split in SPLITS
        }
        if found.val and not splits["val"]["documents"]:
            raise InputError(f"'{found.val[0].name}' has no {found.kind.what} to validate on.")
        measured = list(texts(sampler.excerpts()))
        write_json(folder / CARD, _card(recipe, found, notes, splits, measured, dtype))
    return open_corpus(out)


def _columns(found: Survey, counts: Counter[str]) -> dict[str, Any]:
    """What the card says of each side, where there are two."""
    if len(found.kind.columns) == 1:
        return {}
    names = [tokens for tokens, _ in found.kind.columns]
    return {"columns": {name: {"tokens": counts[f"{name}.tokens"]} for name in names}}


_COUNTED = ("documents", "turns", "tokens", "answer_tokens", "bytes", "characters", "words")


def _ratings(counts: Counter[str]) -> dict[str, dict[str, list[int]]]:
    """How many ratings of each attribute are 0 and 1, where there are any."""
    found = {name: [counts[f"{name} 0"], counts[f"{name} 1"]] for name in ATTRIBUTES}
    rated = {name: both for name, both in found.items() if any(both)}
    return {"ratings": rated} if rated else {}


def _kept(
    found: Survey, notes: Notes, advance: Callable[[int], None]
) -> Iterator[tuple[str, Read]]:
    """('train' or 'val', a conversation that stays): the second reading."""
    render, settings = found.chat.rendered, found.settings
    verdicts = iter(found.verdicts)
    for read in read_chats(found.train, settings, notes, render, advance, found.kind):
        verdict = next(verdicts, None)
        if verdict is None:
            raise _changed()
        if verdict != DROPPED:
            yield ("train" if verdict == TRAIN else "val"), read
    if next(verdicts, None) is not None:
        raise _changed()
    for read in read_chats(found.val, settings, notes, render, advance, found.kind):
        yield "val", read


def _changed() -> InputError:
    return InputError(
        "The files changed between two readings; a pipe cannot be read twice either. Prepare files "
        "that stay."
    )


def _write(
    reads: list[Read],
    found: Survey,
    writers: tuple[ShardWriter, ...],
    counts: Counter[str],
) -> None:
    for number, (name, _) in enumerate(found.kind.columns):
        encoded = encode_reads(found.chat, reads, number)
        lengths = np.array([len(tokens.ids) for tokens in encoded], dtype=np.int32)
        starts = np.ones(len(encoded), dtype=bool)
        ids = np.fromiter((i for tokens in encoded for i in tokens.ids), np.int64)
        marks = np.fromiter((mark for tokens in encoded for mark in tokens.marks), np.uint8)
        writers[2 * number].write(ids, lengths, starts)
        writers[2 * number + 1].write(marks, lengths, starts)
        # A rated conversation is as many documents as it has ratings.
        said = [
            turn["content"]
            for read in reads
            for _ in read.ratings or (1,)
            for turn in read.sides[number].turns
        ]
        counts.update(
            {
                "documents": 0 if number else len(encoded),
                "turns": len(said),
                "tokens": len(ids),
                f"{name}.tokens": len(ids),
                "answer_tokens": int((marks & LEARNED).sum()),
                "bytes": sum(len(text.encode()) for text in said),
                "characters": sum(map(len, said)),
                "words": sum(map(count_words, said)),
            }
        )
    counts.update(f"{name} {rating}" for read in reads for name, rating in read.ratings)


def _card(
    recipe: Recipe,
    found: Survey,
    notes: Notes,
    splits: dict[str, dict[str, Any]],
    measured: list[str],
    dtype: np.dtype,
) -> dict[str, Any]:
    tokenizer, kind = found.chat.tokenizer, recipe.tokenizer.kind

    def listed(sources: Any) -> list[dict[str, Any]]:
        return [
            {"name": s.name, "bytes": s.size, "forms": dict(notes.forms.get(s.name, {}))}
            for s in sources
        ]

    return {
        "format": FORMAT,
        "xunlian": xunlian.__version__,
        "task": found.kind.task,
        "sources": listed(found.train),
        "val": listed(found.val) if found.val else recipe.corpus.val[0],
        "reading": recipe.corpus.model_dump(include={"encoding"}),
        "dropped": {
            "duplicates": found.notes.dropped["duplicates"],
            "broken_records": notes.dropped["broken_records"],
        },
        "cleaned": {
            key: notes.changes[key]
            for key in (
                "line_ends",
                "control_characters",
                "pieces_normalized",
                "trimmed_turns",
                "empty_systems",
                "unanswered_turns",
            )
        },
        "splits": splits,
        "tokenizer": {
            "kind": kind if kind in KINDS else "given",
            "vocab_size": tokenizer.vocab_size,
            "added": found.added,
            "end_id": tokenizer.end_id,
            "turn_end_id": found.chat.turn_end_id,
            "fingerprint": tokenizer.fingerprint,
        },
        "fertility": overall(splits) | fertility((measured, tokenizer)),
        "dtype": dtype.name,
    }
