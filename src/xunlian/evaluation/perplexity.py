"""How well a decoder predicts text: validation loss and perplexity, in memory that does not grow.

Two measures, on purpose:
- `validation_loss` cuts the whole token stream into non-overlapping windows: cheap, the figure
  that training watches and that runs are compared by.
- `document_score` slides a window over each document by itself, so that every token but the
  first few has a long left context (as in https://huggingface.co/docs/transformers/perplexity).

Notable ideas:
- Logits never exist whole (models/losses.py), and batches have few fixed shapes: windows of
  documents wait in one bucket for each halving of the context, so short documents are not padded
  to a whole one.
- Perplexity per token depends on the tokenizer; bits per byte, and perplexity per word or per
  character, do not, because they spread the same total over the text itself.

Shapes: B batch, L length of a window.
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from xunlian.errors import InputError
from xunlian.models.decoder import Decoder
from xunlian.models.losses import IGNORED, cross_entropy
from xunlian.models.recurrent import RecurrentModel

SHORTEST_BUCKET = 16

Progress = Callable[[int], None]
"""Called with the number of tokens scored since the last call."""


class Stream(Protocol):
    """A long sequence of tokens that can be read in parts."""

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> np.ndarray: ...


class Document(Protocol):
    """Token ids of one document, ending with the end token: an array, or read when asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> np.ndarray: ...


@dataclass(frozen=True)
class TextCounts:
    """How much text the scored tokens stand for."""

    documents: int
    bytes: int
    characters: int
    words: int


@dataclass(frozen=True)
class Score:
    """What a model pays for a text: `nats` = the sum of -log p over `tokens` tokens."""

    nats: float
    tokens: int

    @property
    def loss(self) -> float:
        """Mean nats per token."""
        return self.nats / self.tokens

    def per_unit(self, counts: TextCounts) -> dict[str, float]:
        """The same total spread over tokens, words, characters and bytes; full precision.

        A unit that the text has none of is left out. A perplexity too large for a float is inf.
        """
        scores = {"loss": self.loss, "perplexity": _exp(self.loss)}
        if counts.words:
            scores["word_perplexity"] = _exp(self.nats / counts.words)
        if counts.characters:
            scores["character_perplexity"] = _exp(self.nats / counts.characters)
        if counts.bytes:
            scores["bits_per_byte"] = self.nats / counts.bytes / math.log(2)
        return scores


def validation_loss(
    model: Decoder,
    stream: Stream,
    *,
    dtype: torch.dtype,
    batch_tokens: int,
    progress: Progress | None = None,
) -> float:
    """Mean nats per predicted token over the whole stream, cut into windows of the context.

    Every token but the first is predicted exactly once.

    Args:
        model: any mode; it is put back into the one it had.
        stream: the validation tokens.
        dtype: compute precision.
        batch_tokens: about so many tokens are in memory at once.
        progress: told of the tokens scored.

    Raises:
        InputError: the stream has fewer than two tokens.
    """
    if len(stream) < 2:
        raise InputError(
            f"The text to evaluate has {len(stream)} tokens; at least 2 are needed. "
            "Add text, or hold out a larger part with --val."
        )
    windows = count_windows(len(stream), model.config.context)
    nats, tokens = window_losses(
        model,
        stream,
        model.config.context,
        first_window=0,
        last_window=windows,
        dtype=dtype,
        batch_tokens=batch_tokens,
        progress=progress,
    )
    return nats / tokens


@dataclass(frozen=True)
class StreamValidation:
    """A validation text in windows of the context, which processes share out."""

    stream: Stream
    context: int

    @property
    def parts(self) -> int:
        return count_windows(len(self.stream), self.context)

    def nats(self, model: Decoder, first: int, last: int, dtype: torch.dtype) -> tuple[float, int]:
        """Sum of nats of windows first .. last-1 and how many tokens they predict."""
        return window_losses(
            model,
            self.stream,
            self.context,
            first_window=first,
            last_window=last,
            dtype=dtype,
            batch_tokens=max(self.context, 4096),
        )


def count_windows(tokens: int, context: int) -> int:
    """How many windows hold all targets of a stream of `tokens` tokens, all but its first."""
    return -(-(tokens - 1) // context)


def window_losses(
    model: Decoder,
    stream: Stream,
    context: int,
    *,
    first_window: int,
    last_window: int,
    dtype: torch.dtype,
    batch_tokens: int,
    progress: Progress | None = None,
) -> tuple[float, int]:
    """Sum of nats and number of predicted tokens of windows first_window .. last_window - 1.

    Several processes each take a range; the sums of their sums are those of the whole stream.
    Window w predicts tokens w·T + 1 .. w·T + T, where T is `context`, at most the model's. All
    batches have the same shape.
    """
    rows = max(1, min(batch_tokens // context, last_window - first_window))
    nats, tokens = 0.0, 0
    with evaluating(model):
        for first in range(first_window, last_window, rows):
            inputs_BL = np.zeros((rows, context), dtype=np.int64)
            targets_BL = np.full((rows, context), IGNORED, dtype=np.int64)
            start = first * context
            stop = min(min(first + rows, last_window) * context + 1, len(stream))
            read = stream.read(start, stop)
            inputs_BL.reshape(-1)[: len(read) - 1] = read[:-1]
            targets_BL.reshape(-1)[: len(read) - 1] = read[1:]
            nats += _batch_nats(model, inputs_BL, targets_BL, dtype)
            tokens += len(read) - 1
            if progress is not None:
                progress(len(read) - 1)
    return nats, tokens


def document_score(
    model: Decoder | RecurrentModel,
    documents: Iterable[Document],
    *,
    stride: int,
    before_id: int,
    dtype: torch.dtype,
    batch_tokens: int,
    progress: Progress | None = None,
) -> Score:
    """Score each document by itself with a window that moves `stride` tokens at a time.

    Each token is scored once, with all of its document before it or at least context - stride
    tokens of it; the first token of a document is predicted from `before_id` alone. A
    document's own end token is scored too: the total is the cost of the text with its ends.

    Args:
        documents: read one at a time, a window at a time.
        stride: 1 (slow, exact) to context (fast, no overlap).
        before_id: the token put before each document.

    Raises:
        InputError: there is no token at all.
    """
    context = model.config.context
    assert 1 <= stride <= context
    nats, tokens = 0.0, 0
    with evaluating(model):
        windows = _document_windows(documents, context, stride, before_id)
        for inputs_BL, targets_BL, scored in _batches(windows, context, batch_tokens):
            nats += _batch_nats(model, inputs_BL, targets_BL, dtype)
            tokens += scored
            if progress is not None:
                progress(scored)
    if not tokens:
        raise InputError("There is no text to evaluate.")
    return Score(nats, tokens)


@contextlib.contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """No gradients, no dropout; afterwards the mode the model had."""
    mode = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(mode)


Window = tuple[np.ndarray, np.ndarray, int]
"""Inputs, targets (IGNORED where another window scores them), number of scored tokens."""


def _document_windows(
    documents: Iterable[Document], context: int, stride: int, before_id: int
) -> Iterator[Window]:
    for document in documents:
        scored = 0
        for start in range(0, len(document), stride):
            stop = min(start + context, len(document))
            # Inputs lag one behind the targets; before the document stands one more.
            before = document[start - 1 : start] if start else [before_id]
            tokens = np.concatenate([before, document[start:stop]])
            targets = tokens[1:].copy()
            targets[: scored - start] = IGNORED
            yield tokens[:-1], targets, stop - scored
            scored = stop
            if stop == len(document):
                break


def _batches(windows: Iterable[Window], context: int, batch_tokens: int) -> Iterator[Window]:
    """Windows of like length together, padded at the right to the length of their bucket."""
    lengths = [context]
    while lengths[-1] // 2 >= SHORTEST_BUCKET:
        lengths.append(lengths[-1] // 2)
    waiting: dict[int, list[Window]] = {length: [] for length in lengths}
    for window in windows:
        length = min(bucket for bucket in lengths if bucket >= len(window[0]))
        waiting[length].append(window)
        if len(waiting[length]) == _rows(length, batch_tokens):
            yield _stack(waiting[length], length)
            waiting[length].clear()
    for length, rest in waiting.items():
        if rest:
            yield _stack(rest, length)


def _rows(length: int, batch_tokens: int) -> int:
    return max(1, batch_tokens // length)


def _stack(windows: list[Window], length: int) -> Window:
    inputs_BL = np.zeros((len(windows), length), dtype=np.int64)
    targets_BL = np.full((len(windows), length), IGNORED, dtype=np.int64)
    for row, (inputs, targets, _) in enumerate(windows):
        inputs_BL[row, : len(inputs)] = inputs
        targets_BL[row, : len(targets)] = targets
    return inputs_BL, targets_BL, sum(window[2] for window in windows)


def _batch_nats(
    model: Decoder | RecurrentModel,
    inputs_BL: np.ndarray,
    targets_BL: np.ndarray,
    dtype: torch.dtype,
) -> float:
    device = model.head_weight.device
    hidden_BLD = model(torch.from_numpy(inputs_BL).to(device), dtype)
    targets_N = torch.from_numpy(targets_BL).to(device).reshape(-1)
    return float(cross_entropy(hidden_BLD.flatten(0, 1), model.head_weight, targets_N))


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
