"""A chat model on held-out conversations: how well it predicts the answers."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

import xunlian
from xunlian.console import progress, warn
from xunlian.corpus.chat.kinds import CHATS, Kind
from xunlian.corpus.chat.read import CHAT_FORMATS
from xunlian.corpus.chat.survey import Notes, encode_reads, read_chats
from xunlian.corpus.clean import count_words
from xunlian.corpus.reading.sources import expand_source
from xunlian.data.conversations import LEARNED, ChatRows
from xunlian.errors import InputError
from xunlian.evaluation.chats import ChatValidation
from xunlian.evaluation.evaluate_text import is_corpus, precision_of
from xunlian.evaluation.perplexity import Score, TextCounts
from xunlian.evaluation.ratings import scores_of_rows
from xunlian.machine.rates import pick_device
from xunlian.models.decoder import Decoder
from xunlian.recipe.settings import Corpus as CorpusSettings
from xunlian.recipe.settings import Recipe
from xunlian.runs.load import Loaded
from xunlian.shards.corpus import open_corpus
from xunlian.shards.format import token_dtype
from xunlian.shards.stream import TokenStream, open_stream
from xunlian.shards.writer import ShardWriter
from xunlian.tokenizer.chat import Chat, require_chat
from xunlian.tokenizer.ratings import attribute_ids, rating_ids
from xunlian.tokenizer.tokenizer import Tokenizer

_BATCH = 512  # conversations encoded at once
Streams = tuple[TokenStream, TokenStream]
"""Tokens and marks."""


def is_chat(recipe: Recipe, paths: list[str]) -> bool:
    """Whether conversations are to be scored, not text."""
    return recipe.task == "chat" or (is_corpus(paths) and open_corpus(paths[0]).task == "chat")


def evaluate_chats(recipe: Recipe, loaded: Loaded, paths: list[str]) -> dict[str, Any]:
    """Score the answers of the conversations of `paths`; as `xunlian.evaluate` returns it.

    Args:
        paths: files, as `prepare --chat` takes them, or one corpus folder, of which the held-out
            conversations are scored.

    Raises:
        InputError: no conversations, or the model has no chat template or another tokenizer.
    """
    model = loaded.model
    if not isinstance(model, Decoder):
        raise InputError(f"'{loaded.folder}' is no model that chats.")
    model = model.to(pick_device())
    dtype = torch.bfloat16 if precision_of(recipe) == "bf16" else torch.float32
    with tempfile.TemporaryDirectory(prefix="xunlian-") as folder:
        name, (streams,) = open_streams(recipe, loaded, paths, Path(folder), CHATS)
        rows = ChatRows(*streams, model.config.context, None)
        rating = rating_ids(loaded.tokenizer) or ()
        validation = ChatValidation(rows, rating)
        nats, tokens = 0.0, 0
        with progress() as bar:
            task = bar.add_task("evaluate", total=validation.parts)
            step = max(1, validation.parts // 100)
            for first in range(0, validation.parts, step):
                last = min(first + step, validation.parts)
                found = validation.nats(model, first, last, dtype)
                nats, tokens = nats + found[0], tokens + found[1]
                bar.advance(task, last - first)
        ratings = {}
        if rating:
            ratings = scores_of_rows(model, rows, attribute_ids(loaded.tokenizer), rating, dtype)
        count = sum(rated["count"] for rated in ratings.values())
        counts = _counts(rows, rows.conversations - count, loaded.tokenizer)
    signature = "|".join(
        [
            f"xunlian-{xunlian.__version__}",
            f"context:{model.config.context}",
            "unit:answer-token",
            "end:scored",
            f"precision:{precision_of(recipe)}",
            f"tokenizer:{loaded.tokenizer.fingerprint[:12]}",
        ]
    )
    scored = [*(["perplexity"] if tokens else []), *(["ratings"] if ratings else [])]
    scores = Score(nats, tokens).per_unit(counts) if tokens else {}
    for attribute, rated in ratings.items():
        scores |= {f"{attribute}_{key}": rated[key] for key in ("accuracy", "auc") if key in rated}
    return {
        "scores": scores,
        "signatures": dict.fromkeys(scored, signature),
        "data": name,
        "task": "chat",
        "tokens": tokens,
        "cut": rows.cut,
        "left_out": rows.left_out,
        **asdict(counts),
        **({"ratings": ratings} if ratings else {}),
    }


def open_streams(
    recipe: Recipe, loaded: Loaded, paths: list[str], folder: Path, kind: Kind
) -> tuple[str, list[Streams]]:
    """What is scored, and the tokens and marks of each side of it.

    Args:
        paths: files, or one corpus folder, of which what is held out is taken.
        folder: for what is read out of files.

    Raises:
        InputError: nothing of this kind, or the model has no chat template or another tokenizer.
    """
    if is_corpus(paths):
        return _corpus(paths[0], loaded.tokenizer, kind)
    chat = require_chat(loaded.folder)
    return ", ".join(paths), _files(paths, recipe.corpus, chat, folder, kind)


def _corpus(path: str, tokenizer: Tokenizer, kind: Kind) -> tuple[str, list[Streams]]:
    corpus = open_corpus(path)
    if corpus.task != kind.task:
        raise InputError(f"The corpus '{path}' holds no {kind.what}, but {corpus.task}.")
    if corpus.tokenizer_fingerprint != tokenizer.fingerprint:
        raise InputError(
            f"The corpus '{path}' has another tokenizer than the model. Give the {kind.what} "
            "themselves with --data."
        )
    if not corpus.split_card("val")["documents"]:
        raise InputError(
            f"The corpus '{path}' holds out no {kind.what}. Say with --data which to score, or "
            "prepare it with --val."
        )
    corpus.verify()
    streams = [(corpus.stream("val", t), corpus.stream("val", m)) for t, m in kind.columns]
    return f"{path} (val)", streams


def _files(
    paths: list[str], settings: CorpusSettings, chat: Chat, folder: Path, kind: Kind
) -> list[Streams]:
    sources = [source for path in paths for source in expand_source(path, CHAT_FORMATS)]
    notes = Notes()
    dtype = token_dtype(chat.tokenizer.vocab_size)
    with ExitStack() as stack:
        bar = stack.enter_context(progress())
        writers = [
            [
                stack.enter_context(ShardWriter(folder, "val", numbers, column=column))
                for numbers, column in zip((dtype, np.dtype("u1")), columns, strict=True)
            ]
            for columns in kind.columns
        ]
        task = bar.add_task("read", total=sum(source.size for source in sources))
        reads = read_chats(
            sources, settings, notes, chat.rendered, lambda n: bar.advance(task, n), kind
        )
        while batch := list(islice(reads, _BATCH)):
            for number, (tokens, marks) in enumerate(writers):
                for found in encode_reads(chat, batch, number):
                    length, start = np.array([len(found.ids)], np.int32), np.array([True])
                    tokens.write(np.array(found.ids), length, start)
                    marks.write(np.array(found.marks), length, start)
    if notes.dropped["broken_records"]:
        warn(f"{notes.dropped['broken_records']:,} broken {kind.what} were left out.")
    if not writers[0][0].shards:
        raise InputError(f"There are no {kind.what} in {', '.join(paths)}.")
    streams = []
    for pair in writers:
        ids, learned = (open_stream([folder / s["name"] for s in w.shards]) for w in pair)
        streams.append((ids, learned))
    return streams


def _counts(rows: ChatRows, documents: int, tokenizer: Tokenizer) -> TextCounts:
    """Of the answers that are scored, as text; a rating is none."""
    counts: Counter[str] = Counter(documents=documents)
    for answer in _answers(rows, tokenizer.decode):
        counts["bytes"] += len(answer.encode())
        counts["characters"] += len(answer)
        counts["words"] += count_words(answer)
    return TextCounts(**counts)


def _answers(rows: ChatRows, decode: Callable[[Any], str]) -> Iterator[str]:
    """Each run of learned tokens, so that the last word of one answer is not joined to the next."""
    for number in range(rows.conversations):
        tokens, marks = rows.conversation(number)
        learned = (marks & LEARNED) > 0
        ends = np.flatnonzero(learned[1:] != learned[:-1]) + 1
        for start, end in pairwise([0, *ends, len(tokens)]):
            if learned[start]:
                yield decode(tokens[start:end])
