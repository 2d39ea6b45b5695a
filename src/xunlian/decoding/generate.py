"""The loop: prompts in, continuations out, many at once.

Notable ideas:
- In fp32 a row's tokens do not depend on its neighbours: each has its own positions, its own
  random numbers (sampling.py) and its own moment to slide.
- A window that is full slides: its last half is read again, and generation goes on. So a text may
  grow longer than the context; a token always sees between half a context and a whole one.
- Rows that ended are dropped from the batch when they are half of it.

Shapes: B rows, V vocabulary.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from xunlian.console import warn
from xunlian.decoding.sampling import choose, streams
from xunlian.decoding.stream import Decodes, TextStream
from xunlian.errors import XunlianError
from xunlian.recipe.settings import Decoding

ROWS = 32  # prompts in one batch


class Generates(Protocol):
    """A model made ready: `Engine`, `ConversationEngine` or `RecurrentEngine`, each with its cache.

    `context` is how many tokens a text may have before its window slides.
    """

    @property
    def context(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def precision(self) -> str: ...

    def new_cache(self, rows: int, columns: int) -> Any: ...

    def read(self, cache: Any, texts: dict[int, list[int]], /) -> dict[int, Tensor]: ...

    def step(self, cache: Any, tokens_B: Tensor, /) -> Tensor: ...


def generate_texts(
    engine: Generates,
    tokenizer: Decodes,
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    end_ids: Collection[int] = (),
) -> Iterator[tuple[int, str, TextStream]]:
    """Continue every prompt. Yields (prompt's number, new piece of its text, its stream so far).

    The pieces of one prompt, joined, are its continuation. Prompts are token ids, at least one
    each; those longer than the context lose their beginning, with a warning. Some pieces are
    empty; after a prompt's last piece, its stream's `finish` says why it ended.
    """
    texts = [TextStream(tokenizer, prompt, decoding.stop) for prompt in prompts]
    ended: set[int] = set()
    for number, token in generate_tokens(engine, prompts, decoding, ended):
        text = texts[number]
        if token in end_ids:
            piece = text.end("end")
        else:
            piece = text.push(token)
            if text.finish is None and text.tokens == decoding.max_tokens:
                piece += text.end("length")
        if text.finish is not None:
            ended.add(number)
        yield number, piece, text


def generate_tokens(
    engine: Generates, prompts: Sequence[Sequence[int]], decoding: Decoding, ended: set[int]
) -> Iterator[tuple[int, int]]:
    """Yields (prompt's number, new token), up to `max_tokens` for each prompt.

    The caller may add a prompt's number to `ended` to stop it there.
    """
    context = engine.context
    numbers = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
    randoms = streams(decoding.seed, prompts) if decoding.temperature else None
    _warn_of_cuts(prompts, context)
    for start in range(0, len(numbers), ROWS):
        part = numbers[start : start + ROWS]
        random = None if randoms is None else [randoms[number] for number in part]
        windows = [list(prompts[number][-context:]) for number in part]
        yield from _generate_batch(engine, part, windows, decoding, random, ended)


def _generate_batch(
    engine: Generates,
    numbers: list[int],
    windows: list[list[int]],
    decoding: Decoding,
    randoms: list[np.random.Generator] | None,
    ended: set[int],
) -> Iterator[tuple[int, int]]:
    """`windows` are what each row sees, never longer than the context."""
    context = engine.context
    longest = max(map(len, windows))
    cache = engine.new_cache(len(windows), min(context, longest + decoding.max_tokens))
    cache.used = longest
    first = engine.read(cache, dict(enumerate(windows)))
    logits_BV = torch.stack([first[row] for row in range(len(windows))])
    if logits_BV.isnan().any():
        raise XunlianError(
            "The model's predictions are not numbers (NaN): its weights are damaged, or its "
            "training went astray. Train again with a lower training.learning_rate."
        )
    seen_BV = None
    if decoding.repetition_penalty != 1:
        seen_BV = torch.zeros(logits_BV.shape, dtype=torch.bool, device=engine.device)
        for row, window in enumerate(windows):
            seen_BV[row, window] = True
    for step in range(decoding.max_tokens):
        uniform_B = None
        if randoms is not None:
            drawn = np.array([random.random(dtype=np.float32) for random in randoms])
            uniform_B = torch.from_numpy(drawn).to(engine.device)
        tokens_B = choose(logits_BV, seen_BV, uniform_B, decoding)
        tokens = tokens_B.tolist()
        for number, token in zip(numbers, tokens, strict=True):
            if number not in ended:
                yield number, token
        live = [row for row, number in enumerate(numbers) if number not in ended]
        if not live or step + 1 == decoding.max_tokens:
            return
        if seen_BV is not None:
            seen_BV.scatter_(1, tokens_B.unsqueeze(1), True)
        if len(live) <= len(numbers) // 2:
            cache.keep(live)
            numbers, windows = [numbers[row] for row in live], [windows[row] for row in live]
            tokens, tokens_B = [tokens[row] for row in live], tokens_B[live]
            randoms = None if randoms is None else [randoms[row] for row in live]
            seen_BV = None if seen_BV is None else seen_BV[live]
        logits_BV = _advance(engine, cache, windows, tokens, tokens_B)


def _advance(
    engine: Generates, cache: Any, windows: list[list[int]], tokens: list[int], tokens_B: Tensor
) -> Tensor:
    """Append a token to every window, after cutting full ones. Returns the next logits (B, V)."""
    context = engine.context
    full = [row for row, window in enumerate(windows) if len(window) == context]
    if full:
        for row in full:
            windows[row] = windows[row][-(context // 2) :]
        engine.read(cache, {row: windows[row] for row in full})
        cache.close_up()
    for window, token in zip(windows, tokens, strict=True):
        window.append(token)
    return engine.step(cache, tokens_B)


def _warn_of_cuts(prompts: Sequence[Sequence[int]], context: int) -> None:
    for number, prompt in enumerate(prompts):
        if len(prompt) > context:
            which = "The prompt" if len(prompts) == 1 else f"Prompt {number + 1}"
            warn(
                f"{which} has {len(prompt):,} tokens but the model sees {context:,} at once: the "
                f"first {len(prompt) - context:,} were left out."
            )
