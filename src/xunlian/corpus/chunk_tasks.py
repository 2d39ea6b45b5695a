"""The tasks of a job: what is done with one chunk of the documents, each a function of plain data.

run_stages     cleaned and judged                          a file for each stage (columns.py)
survey_chunk   how much there is, and a sample             survey/00007-0002.json
encode_chunk   tokens, split                               tokens/00007-0002.train.bin ...
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from xunlian.corpus.columns import begin, is_done, mark_done, read_rows, surviving
from xunlian.corpus.encode import Sequenced, encode, in_batches
from xunlian.corpus.engines.tasks import Told
from xunlian.corpus.kept_text import Documents, kept, text_path
from xunlian.corpus.line import run_line
from xunlian.corpus.sample import Sampler, texts
from xunlian.corpus.split import Holdout
from xunlian.corpus.stage_list import stages_of
from xunlian.corpus.stages.bias import count
from xunlian.corpus.survey import survey
from xunlian.corpus.trail import Suspicion
from xunlian.files import atomic_write
from xunlian.recipe.settings import Corpus as CorpusSettings
from xunlian.tokenizer.sides import Sides, load_sides

SPLITS = ("train", "val")
_ARRAYS = {"lengths": np.dtype("<i4"), "starts": np.dtype(np.bool_)}


def run_stages(
    work: str,
    chunk: str,
    settings: dict[str, Any],
    keys: list[str],
    held_out: bool,
    pages: bool,
    told: Told,
    suspicion: Suspicion | None = None,
) -> None:
    """Bring a chunk through all stages, as far as that is not done."""
    corpus = CorpusSettings.model_validate(settings)
    line = stages_of(corpus, held_out, pages)
    run_line(line, keys, Path(work), chunk, told, corpus.on_error == "stop", suspicion)


def survey_chunk(
    work: str,
    chunk: str,
    stages: list[str],
    key: str,
    fraction: str,
    before: int,
    offset: int,
    sample_bytes: int,
    told: Told,
) -> None:
    """Leaves survey/CHUNK.json: the fields of `Survey`."""
    folder = Path(work)
    if is_done(folder, "survey", chunk, key):
        return
    documents = (piece for _, piece in surviving(read_rows(folder, stages, chunk)))
    found = survey(documents, Holdout(Fraction(fraction)), sample_bytes, before, offset)
    mark_done(folder, "survey", chunk, key, asdict(found))


def encode_chunk(
    work: str,
    chunk: str,
    stages: list[str],
    key: str,
    tokenizer: str,
    dtype: str,
    split: dict[str, Any],
    val_sample_bytes: int,
    keep_text: bool,
    bias_audit: bool,
    told: Told,
) -> None:
    """Leaves tokens/CHUNK.SPLIT.{bin,lengths,starts} and tokens/CHUNK.json with the counts; with
    `keep_text` also text/CHUNK.jsonl.gz.

    Args:
        split: 'held_out': all is for validation; else 'fraction', 'before' and 'offset' (documents
            that begin before this chunk, and how much of the last it continues after) and 'cuts'
            (where the tails of the first documents begin, or empty).
    """
    folder = Path(work)
    if is_done(folder, "tokens", chunk, key):
        return
    begin(folder, "tokens", chunk)
    model = _tokenizers(tokenizer, Path(tokenizer).stat().st_mtime_ns)
    kinds = {"bin": np.dtype(dtype), **_ARRAYS}
    totals: dict[str, Counter[str]] = {name: Counter() for name in SPLITS}
    sampler = Sampler(val_sample_bytes)
    with ExitStack() as stack:
        files = {
            (name, array): stack.enter_context(atomic_write(array_path(folder, chunk, name, array)))
            for name in SPLITS
            for array in kinds
        }
        bias: Counter[str] = Counter()
        languages: Counter[str] = Counter()
        lengths: Counter[int] = Counter()
        documents = _counted(
            surviving(read_rows(folder, stages, chunk)), languages, lengths, split.get("offset", 0)
        )
        if keep_text:
            documents = stack.enter_context(kept(documents, text_path(folder, chunk)))
        for rows in in_batches(_split(documents, split)):
            for item in rows:
                if item.split == "val":
                    sampler.add(item.text)
            if bias_audit:
                bias.update(count([item.text for item in rows if item.split == "train"]))
            encoded = _encode(rows, model, kinds["bin"])
            told(sum(made.counts["bytes"] for made in encoded.values()))
            for name, made in encoded.items():
                totals[name].update(made.counts)
                for array, values in zip(
                    kinds, (made.tokens, made.lengths, made.starts), strict=True
                ):
                    files[name, array].write(values.astype(kinds[array]).tobytes())
    counts = {name: dict(total) for name, total in totals.items()}
    sample = list(texts(sampler.excerpts()))
    seen = {"languages": dict(languages), "lengths": {str(n): lengths[n] for n in sorted(lengths)}}
    seen["bias"] = dict(bias)
    mark_done(folder, "tokens", chunk, key, {"splits": counts, "val_sample": sample, **seen})


@lru_cache(1)
def _tokenizers(folder: str, changed: int) -> Sides:
    """Kept from chunk to chunk, and with them what their encoder has learned of words."""
    return load_sides(folder)


def array_path(work: Path, chunk: str, split: str, array: str) -> Path:
    return work / "tokens" / f"{chunk}.{split}.{array}"


def _encode(rows: Sequence[Sequenced], model: Sides, dtype: np.dtype) -> Any:
    parts, _ = encode(rows, model, dtype)
    return parts


def _counted(
    documents: Documents, languages: Counter[str], lengths: Counter[int], characters: int
) -> Documents:
    """The same documents, counted by language and by the power of two of their characters.

    `characters` are those of the first one that stand in the chunk before.
    """
    for row, piece in documents:
        characters += len(piece.text)
        if piece.last:
            lengths[max(1, characters).bit_length() - 1] += 1
            characters = 0
            if language := row.get("language"):
                languages[language] += 1
        yield row, piece


def _split(pieces: Documents, split: dict[str, Any]) -> Iterator[Sequenced]:
    """Each piece in its split; the piece in which a tail begins in two."""
    if split["held_out"]:
        for _, piece in pieces:
            yield Sequenced(piece.text, "val", piece.first, piece.last)
        return
    holdout, cuts = Holdout(Fraction(split["fraction"])), split["cuts"]
    ordinal, offset = split["before"] - 1, split["offset"]
    name = "val" if holdout.is_held_out(max(0, ordinal)) else "train"
    for _, (text, first, last) in pieces:
        if first:
            ordinal, offset = ordinal + 1, 0
            if not cuts:
                name = "val" if holdout.is_held_out(ordinal) else "train"
        if not cuts:
            yield Sequenced(text, name, first, last)
            continue
        cut, end = cuts[ordinal], offset + len(text)
        if offset < cut < end:
            yield Sequenced(text[: cut - offset], "train", first, True)
            yield Sequenced(text[cut - offset :], "val", True, last)
        elif end <= cut:
            yield Sequenced(text, "train", first, last or end == cut)
        else:
            yield Sequenced(text, "val", offset == cut, last)
        offset = end
