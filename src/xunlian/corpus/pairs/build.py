"""Files of pairs in, corpus folder out: the whole preparation, in two passes over the text.

1. Read, clean and judge every pair once: note which stay, and keep a bounded sample of both sides
   for one joint tokenizer, or for one of each side.
2. Read them again: encode in several processes, write a column of shards for each side.

Document number i of the column 'source' belongs to document i of the column 'target'. Memory is
bounded by the sample and a few batches, but for one byte a pair (whether it stays) and the hashes
that find duplicates (8 to 16 bytes a pair, until the second pass). The result does not depend on
the number of workers. The folder appears whole or not at all.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import xunlian
from xunlian.console import progress
from xunlian.corpus.encode import Sequenced, in_batches
from xunlian.corpus.engines.workers import choose_workers, encode_all
from xunlian.corpus.fertility import FERTILITY_BYTES, fertility, head, overall
from xunlian.corpus.origins import with_origins
from xunlian.corpus.pairs.clean import REASONS
from xunlian.corpus.pairs.read import Pair, PairSource
from xunlian.corpus.pairs.survey import PairSurvey, find_reading, kept_pairs, size, survey_pairs
from xunlian.corpus.reading.sources import Source
from xunlian.corpus.reading.tmx import Languages
from xunlian.corpus.sample import Sampler, texts
from xunlian.corpus.vocabulary import given_place, make_tokenizer
from xunlian.errors import InputError
from xunlian.files import atomic_folder, write_json
from xunlian.recipe.settings import Recipe
from xunlian.recipe.settings import Tokenizer as TokenizerSettings
from xunlian.shards.corpus import CARD, FORMAT, Corpus, open_corpus
from xunlian.shards.format import token_dtype
from xunlian.shards.writer import SHARD_TOKENS, ShardWriter
from xunlian.tokenizer.fingerprint import TARGET
from xunlian.tokenizer.framing import start_of_targets
from xunlian.tokenizer.sides import Sides, load_sides, side_by_side
from xunlian.tokenizer.tokenizer import Tokenizer
from xunlian.tokenizer.train import KINDS

COLUMNS = ("source", "target")
SPLITS = ("train", "val")
_COUNTS = ("tokens", "bytes", "characters", "words")


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
    reading = find_reading(recipe)
    with atomic_folder(out) as folder:
        found = survey_pairs(reading)
        tokenizers = _make_tokenizers(recipe.tokenizer, found, reading.languages)
        samples = found.samples if tokenizers.separate else found.samples[:1]
        seen = [
            (list(head(_texts(sample))), tokenizer)
            for sample, tokenizer in zip(samples, tokenizers, strict=False)
        ]
        del found.samples, samples  # their text is not needed any more
        tokenizers.save(folder)
        dtype = token_dtype(tokenizers.vocab_size)
        workers = workers or choose_workers(sum(found.bytes))
        changes: Counter[str] = Counter()
        totals = {f"{split}.{column}": Counter[str]() for split in SPLITS for column in COLUMNS}
        val_samples = {column: Sampler(FERTILITY_BYTES) for column in COLUMNS}
        with ExitStack() as stack:
            writers = {
                name: stack.enter_context(
                    ShardWriter(folder, split, dtype, shard_tokens, column=column)
                )
                for name in totals
                for split, column in [name.split(".")]
            }
            bar = stack.enter_context(progress())
            task = bar.add_task("encode", total=size(reading.train) + size(reading.val))

            def advance(amount: int) -> None:
                bar.advance(task, amount)

            pairs = kept_pairs(reading, found, changes, advance)
            batches = in_batches(_both_sides(pairs, val_samples))
            for parts, _ in encode_all(batches, tokenizers, folder, dtype, workers):
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
        if reading.val and not splits["val"]["pairs"]:
            raise InputError(f"'{reading.val[0].name}' has no pair to validate on.")
        measured = [
            (list(texts(val_samples[column].excerpts())), tokenizers.of(column))
            for column in COLUMNS
        ]
        if not any(lines for lines, _ in measured):
            measured = seen
        write_json(
            folder / CARD,
            {
                "format": FORMAT,
                "xunlian": xunlian.__version__,
                "task": recipe.task,
                "languages": dict(zip(COLUMNS, reading.languages, strict=True)),
                "sources": with_origins(recipe.corpus, {"": _files(reading.train)}),
                "val": _names(reading.val) if reading.val else recipe.corpus.val[0],
                "reading": recipe.corpus.model_dump(
                    include={"source_field", "target_field", "encoding", "max_length_ratio"}
                ),
                "dropped": {key: found.dropped[key] for key in (*REASONS, "broken_records")},
                "cleaned": {
                    key: changes[key]
                    for key in ("line_ends", "control_characters", "pieces_normalized")
                },
                "splits": splits,
                "tokenizer": {
                    "kind": recipe.tokenizer.kind if recipe.tokenizer.kind in KINDS else "given",
                    "separate": tokenizers.separate,
                    "vocab_size": tokenizers.vocab_size,
                    "end_id": tokenizers.source.end_id,
                    "pad_id": _pad_id(tokenizers.source),
                    "start_id": start_of_targets(tokenizers.source, given_place(recipe.tokenizer)),
                    "fingerprint": tokenizers.fingerprint,
                },
                "fertility": overall(splits) | fertility(*measured),
                "dtype": dtype.name,
            },
        )
    return open_corpus(out)


def _make_tokenizers(settings: TokenizerSettings, found: PairSurvey, languages: Languages) -> Sides:
    """One for both sides, or one for each; or those of a folder that has both."""
    if settings.kind not in KINDS and (Path(settings.kind) / TARGET).is_dir():
        return load_sides(settings.kind)
    if not settings.separate:
        sample = partial(_texts, found.samples[0])
        both = make_tokenizer(settings, sample, sum(found.bytes), languages)
        return Sides(both, both)
    if settings.kind not in KINDS:
        raise InputError(
            f"tokenizer.separate = true makes two tokenizers, but tokenizer.kind = "
            f"'{settings.kind}' names one. Leave one of them out."
        )
    source, target = (
        make_tokenizer(settings, partial(_texts, sample), size, languages)
        for sample, size in zip(found.samples, found.bytes, strict=True)
    )
    return side_by_side(source, target)


def _texts(sample: Sampler) -> Iterator[str]:
    return texts(sample.excerpts())


def _pad_id(tokenizer: Tokenizer) -> int:
    return tokenizer.end_id if tokenizer.pad_id is None else tokenizer.pad_id


def _both_sides(
    pairs: Iterable[tuple[str, Pair]], val_samples: dict[str, Sampler]
) -> Iterator[Sequenced]:
    """Each side on its way to its column, one sequence each."""
    for split, pair in pairs:
        for column, text in zip(COLUMNS, pair, strict=True):
            if split == "val":
                val_samples[column].add(text)
            yield Sequenced(text, f"{split}.{column}", first=True, last=True)


def _split_card(columns: dict[str, Counter[str]], shards: list[dict[str, Any]]) -> dict[str, Any]:
    pairs = columns["source"]["documents"]
    assert pairs == columns["target"]["documents"]
    sides = {name: {key: counts[key] for key in _COUNTS} for name, counts in columns.items()}
    both = {key: sum(side[key] for side in sides.values()) for key in _COUNTS}
    return {"pairs": pairs, "documents": pairs, **both, "columns": sides, "shards": shards}


def _names(pairs: list[PairSource]) -> list[dict[str, Any]]:
    return [{"name": file.name, "bytes": file.size} for file in _files(pairs)]


def _files(pairs: list[PairSource]) -> list[Source]:
    return [file for pair in pairs for file in pair.files]
