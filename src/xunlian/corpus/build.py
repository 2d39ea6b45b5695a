"""Files in, corpus folder out: the whole preparation, in two passes over the text.

1. Read and clean everything once: count it, and keep a bounded sample for the tokenizer.
2. Read it again: encode in several processes, write shards.

Memory is bounded by the sample and a few batches, whatever the size of the text, and the result
does not depend on the number of workers. The folder appears whole or not at all.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import xunlian
from xunlian.console import progress
from xunlian.corpus.clean import clean
from xunlian.corpus.encode import Sequenced
from xunlian.corpus.fertility import fertility
from xunlian.corpus.pieces import Piece
from xunlian.corpus.readers import read_documents
from xunlian.corpus.sample import Sampler, texts
from xunlian.corpus.sources import Source, find_sources
from xunlian.corpus.split import Holdout, parse_holdout
from xunlian.corpus.survey import Survey, survey
from xunlian.corpus.vocabulary import make_tokenizer
from xunlian.corpus.workers import choose_workers, encode_all
from xunlian.errors import InputError
from xunlian.files import atomic_folder, write_json
from xunlian.recipe.settings import Corpus as CorpusSettings
from xunlian.recipe.settings import Tokenizer as TokenizerSettings
from xunlian.shards.corpus import CARD, FORMAT, Corpus, open_corpus
from xunlian.shards.format import token_dtype
from xunlian.shards.writer import SHARD_TOKENS, ShardWriter
from xunlian.tokenizer.sides import Sides
from xunlian.tokenizer.train import KINDS

_BATCH_CHARACTERS = 500_000  # what a worker gets at once
_BATCH_SEQUENCES = 5_000
FERTILITY_BYTES = 1_000_000  # of text, enough for three digits


def build_corpus(
    corpus: CorpusSettings,
    tokenizer: TokenizerSettings,
    out: Path,
    workers: int | None = None,
    shard_tokens: int = SHARD_TOKENS,
) -> Corpus:
    """Prepare `corpus.sources` into the folder `out`.

    Args:
        workers: processes that encode; by default as many as there are cores.
        shard_tokens: where to begin the next shard.

    Raises:
        InputError: `out` exists, or anything is wrong with the files or the settings. Nothing is
            left behind.
    """
    sources, val_sources, holdout = _find(corpus)
    with atomic_folder(out) as folder:
        found = _first_pass(sources, corpus, tokenizer, holdout)
        train_bytes = round(found.bytes * (1 - float(found.holdout.fraction)))
        model = make_tokenizer(tokenizer, found.training_sample, train_bytes)
        seen = list(head(found.training_sample()))
        found.sample.clear()
        model.save(folder)
        dtype = token_dtype(model.vocab_size)
        workers = workers or choose_workers(found.bytes)
        counts: Counter[str] = Counter()
        changes: Counter[str] = Counter()
        totals: dict[str, Counter[str]] = {"train": Counter(), "val": Counter()}
        val_sample = Sampler(FERTILITY_BYTES)
        with ExitStack() as stack:
            writers = {
                split: stack.enter_context(ShardWriter(folder, split, dtype, shard_tokens))
                for split in totals
            }
            bar = stack.enter_context(progress())
            task = bar.add_task("encode", total=_size(sources + val_sources))

            def advance(amount: int) -> None:
                bar.advance(task, amount)

            train = read_documents(sources, corpus, counts, advance)
            val = read_documents(val_sources, corpus, counts, advance)
            batches = in_batches(_sampled(_assign(train, found, changes), _as_val(val), val_sample))
            for parts, changed in encode_all(batches, Sides(model, model), folder, dtype, workers):
                changes.update(changed)
                for split, part in parts.items():
                    writers[split].write(part.tokens, part.lengths, part.starts)
                    totals[split].update(part.counts)
        _check(totals, val_sources)
        splits = {
            split: {key: total[key] for key in _COUNTS} | {"shards": writers[split].shards}
            for split, total in totals.items()
        }
        measured = list(texts(val_sample.excerpts())) or seen
        write_json(
            folder / CARD,
            {
                "format": FORMAT,
                "xunlian": xunlian.__version__,
                "sources": [{"name": s.name, "bytes": s.size} for s in sources],
                "val": corpus.val[0]
                if holdout.fraction
                else [{"name": s.name, "bytes": s.size} for s in val_sources],
                "reading": corpus.model_dump(include={"text_field", "documents", "encoding"}),
                "dropped": {key: counts[key] for key in ("empty_documents", "broken_records")},
                "cleaned": {
                    "line_ends": counts["line_ends"] + changes["line_ends"],
                    "control_characters": changes["control_characters"],
                    "pieces_normalized": changes["pieces_normalized"],
                },
                "splits": splits,
                "tokenizer": {
                    "kind": tokenizer.kind if tokenizer.kind in KINDS else "given",
                    "vocab_size": model.vocab_size,
                    "end_id": model.end_id,
                    "fingerprint": model.fingerprint,
                },
                "fertility": overall(splits) | fertility((measured, model)),
                "dtype": dtype.name,
            },
        )
    return open_corpus(out)


_COUNTS = ("documents", "tokens", "bytes", "characters", "words")


def _find(corpus: CorpusSettings) -> tuple[list[Source], list[Source], Holdout]:
    """The training files, the validation files, and the fraction held out of the former."""
    if not corpus.sources:
        raise InputError("Nothing to prepare: name files or folders, or set corpus.sources.")
    sources = find_sources(corpus.sources)
    holdout = parse_holdout(corpus.val)
    if holdout:
        return sources, [], holdout
    val_sources = find_sources(corpus.val)
    held_out = {s.path.resolve() for s in val_sources}
    # A validation file inside the folder to train on must not be trained on.
    sources = [s for s in sources if s.path.resolve() not in held_out]
    if not sources:
        raise InputError(
            f"corpus.val = '{', '.join(corpus.val)}' is all the text there is: nothing is left "
            "to train on."
        )
    return sources, val_sources, Holdout(Fraction(0))


def _first_pass(
    sources: list[Source], corpus: CorpusSettings, tokenizer: TokenizerSettings, holdout: Holdout
) -> Survey:
    with progress() as bar:
        task = bar.add_task("read", total=_size(sources))
        documents = read_documents(
            sources, corpus, Counter(), lambda amount: bar.advance(task, amount)
        )
        found = survey(documents, holdout, tokenizer.sample_bytes)
    if not found.documents:
        names = f"'{sources[0].name}' has" if len(sources) == 1 else "The files have"
        raise InputError(f"{names} no text: nothing but blank documents.")
    return found


def _assign(
    documents: Iterable[Piece], found: Survey, changes: Counter[str]
) -> Iterator[Sequenced]:
    """Send each piece to its split; cut the piece in which a tail begins."""
    ordinal, offset, index, cut = -1, 0, 0, 0
    split = "train"
    for text, first, last in documents:
        if first:
            ordinal, offset, index = ordinal + 1, 0, 0
            if found.by_tail:
                cut = found.cut(ordinal)
            else:
                split = "val" if found.holdout.is_held_out(ordinal) else "train"
        if not found.by_tail:
            yield Sequenced(text, split, first, last)
            continue
        length = found.pieces[ordinal][index]
        if offset < cut < offset + length:
            text = clean(text, changes)
            yield Sequenced(text[: cut - offset], "train", first, True)
            yield Sequenced(text[cut - offset :], "val", True, last)
        elif offset + length <= cut:
            yield Sequenced(text, "train", first, last or offset + length == cut)
        else:
            yield Sequenced(text, "val", offset == cut, last)
        offset, index = offset + length, index + 1


def _as_val(documents: Iterable[Piece]) -> Iterator[Sequenced]:
    for text, first, last in documents:
        yield Sequenced(text, "val", first, last)


def _sampled(
    train: Iterator[Sequenced], val: Iterator[Sequenced], sampler: Sampler
) -> Iterator[Sequenced]:
    """Both, one after the other, with a sample taken of the validation text."""
    for items in (train, val):
        for item in items:
            if item.split == "val":
                sampler.add(item.text)
            yield item


def in_batches(items: Iterable[Sequenced]) -> Iterator[list[Sequenced]]:
    """What a worker gets at once: bounded in characters and in sequences."""
    batch: list[Sequenced] = []
    characters = 0
    for item in items:
        batch.append(item)
        characters += len(item.text)
        if characters >= _BATCH_CHARACTERS or len(batch) >= _BATCH_SEQUENCES:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _check(totals: dict[str, Counter[str]], val_sources: list[Source]) -> None:
    if not totals["train"]["characters"]:
        raise InputError("The text is too short to hold out a part of it. Use --val 0 or a file.")
    if val_sources and not totals["val"]["characters"]:
        raise InputError(f"'{val_sources[0].name}' has no text to validate on.")


def overall(splits: dict[str, Any]) -> dict[str, float]:
    """Tokens a byte over all splits, from their cards."""
    tokens = sum(split["tokens"] for split in splits.values())
    size = sum(split["bytes"] for split in splits.values())
    return {"tokens_per_byte": round(tokens / size, 4)}


def head(sample: Iterator[str]) -> Iterator[str]:
    """The sample's first texts, as many as fertility needs."""
    size = 0
    for text in sample:
        yield text
        size += len(text.encode())
        if size >= FERTILITY_BYTES:
            return


def _size(sources: list[Source]) -> int:
    return sum(source.size for source in sources)
