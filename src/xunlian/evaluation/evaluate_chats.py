"""A chat model on held-out conversations: how well it predicts the answers."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

import xunlian
from xunlian.console import progress, warn
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
from xunlian.shards.corpus import MASK, open_corpus
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
        if is_corpus(paths):
            name, streams = _corpus(paths[0], loaded.tokenizer)
        else:
            chat = require_chat(loaded.folder)
            name = ", ".join(paths)
            streams = _files(paths, recipe.corpus, chat, Path(folder))
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


def _corpus(path: str, tokenizer: Tokenizer) -> tuple[str, Streams]:
    corpus = open_corpus(path)
    if corpus.task != "chat":
        raise InputError(f"The corpus '{path}' holds no conversations, but {corpus.task}.")
    if corpus.tokenizer_fingerprint != tokenizer.fingerprint:
        raise InputError(
            f"The corpus '{path}' has another tokenizer than the model. Give the conversations "
            "themselves with --data."
        )
    if not corpus.split_card("val")["documents"]:
        raise InputError(
            f"The corpus '{path}' holds out no conversation. Say with --data which to score, or "
            "prepare it with --val."
        )
    corpus.verify()
    return f"{path} (val)", (corpus.stream("val"), corpus.stream("val", MASK))


def _files(paths: list[str], settings: CorpusSettings, chat: Chat, folder: Path) -> Streams:
    sources = [source for path in paths for source in expand_source(path, CHAT_FORMATS)]
    notes = Notes()
    dtype = token_dtype(chat.tokenizer.vocab_size)
    with (
        progress() as bar,
        ShardWriter(folder, "val", dtype) as tokens,
        ShardWriter(folder, "val", np.dtype("u1"), column=MASK) as marks,
    ):
        task = bar.add_task("read", total=sum(source.size for source in sources))
        reads = read_chats(
            sources, settings, notes, chat.rendered, lambda amount: bar.advance(task, amount)
        )
        while batch := list(islice(reads, _BATCH)):
            for found in encode_reads(chat, batch):
                length, start = np.array([len(found.ids)], np.int32), np.array([True])
                tokens.write(np.array(found.ids), length, start)
                marks.write(np.array(found.marks), length, start)
    if notes.dropped["broken_records"]:
        warn(f"{notes.dropped['broken_records']:,} broken conversations were left out.")
    if not tokens.shards:
        raise InputError(f"There are no conversations in {', '.join(paths)}.")
    token_stream, mark_stream = (
        open_stream([folder / shard["name"] for shard in writer.shards])
        for writer in (tokens, marks)
    )
    return token_stream, mark_stream


def _counts(rows: ChatRows, documents: int, tokenizer: Tokenizer) -> TextCounts:
    """Of the answers that are scored, as text; a rating is none."""
    counts: Counter[str] = Counter(documents=documents)
    for answers in _answers(rows, tokenizer.decode):
        counts["bytes"] += len(answers.encode())
        counts["characters"] += len(answers)
        counts["words"] += count_words(answers)
    return TextCounts(**counts)


def _answers(rows: ChatRows, decode: Callable[[Any], str]) -> Iterator[str]:
    for number in range(rows.conversations):
        tokens, marks = rows.conversation(number)
        yield decode(tokens[(marks & LEARNED) > 0])
