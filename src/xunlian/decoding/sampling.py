"""Choosing the next token from logits: pure functions, each row by itself.

The filters are those of Transformers, in its order: repetition penalty (arXiv 1909.05858),
temperature, top-k (arXiv 1805.04833), top-p (arXiv 1904.09751), min-p (arXiv 2407.01082). A
filtered token has the logit -inf.

Notable ideas:
- A token is drawn by inverting the cumulative distribution at one uniform number per row, so a
  row's draw depends on nothing but its own logits and its own stream of numbers.
- top-p seldom needs the whole vocabulary sorted: the most probable tokens are tried first.

Shapes: B rows, V vocabulary.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from xunlian.recipe.settings import Decoding

TRIED_FIRST = 256  # most probable tokens that top-p looks at before it sorts all
FROZEN = 1e-6  # a temperature below this would overflow, and no second token had a chance


def choose(
    logits_BV: Tensor, seen_BV: Tensor | None, uniform_B: Tensor | None, decoding: Decoding
) -> Tensor:
    """The next token of every row, (B,).

    Args:
        logits_BV: fp32; may be overwritten.
        seen_BV: which tokens occurred; needed when there is a repetition penalty.
        uniform_B: a number in [0, 1) for each row; not needed at temperature 0.
    """
    if decoding.repetition_penalty != 1:
        assert seen_BV is not None
        logits_BV = penalize_repetition(logits_BV, seen_BV, decoding.repetition_penalty)
    if decoding.temperature < FROZEN:
        return most_probable(logits_BV)
    assert uniform_B is not None
    logits_BV = logits_BV / decoding.temperature
    if decoding.top_k:
        logits_BV = keep_top_k(logits_BV, decoding.top_k)
    if decoding.top_p < 1:
        logits_BV = keep_top_p(logits_BV, decoding.top_p)
    if decoding.min_p:
        logits_BV = keep_min_p(logits_BV, decoding.min_p)
    return draw(logits_BV, uniform_B)


def most_probable(logits_BV: Tensor) -> Tensor:
    """The first of the largest logits of every row, (B,)."""
    if logits_BV.device.type == "cpu":  # numpy compares 16 numbers at once: 10x as fast here
        return torch.from_numpy(logits_BV.numpy().argmax(-1))
    return logits_BV.argmax(-1)


def penalize_repetition(logits_BV: Tensor, seen_BV: Tensor, penalty: float) -> Tensor:
    """Divide the positive logits of seen tokens by `penalty`, multiply the negative ones."""
    penalized_BV = torch.where(logits_BV < 0, logits_BV * penalty, logits_BV / penalty)
    return torch.where(seen_BV, penalized_BV, logits_BV)


def keep_top_k(logits_BV: Tensor, k: int) -> Tensor:
    """Keep the k most probable tokens."""
    if k >= logits_BV.shape[-1]:
        return logits_BV
    return _cut(logits_BV, logits_BV.topk(k).values[:, -1:])


def keep_top_p(logits_BV: Tensor, p: float) -> Tensor:
    """Keep a token when those more probable than it have together less than `p`."""
    size = logits_BV.shape[-1]
    total_B1 = logits_BV.logsumexp(-1, keepdim=True)
    for tried in (min(TRIED_FIRST, size), size):
        top_BT = logits_BV.topk(tried).values
        probable_BT = (top_BT - total_B1).exp()
        kept_BT = probable_BT.cumsum(-1) - probable_BT < p
        kept_BT[:, 0] = True
        if tried == size or not kept_BT[:, -1].any():
            break
    last_B1 = kept_BT.sum(-1, keepdim=True) - 1
    return _cut(logits_BV, top_BT.gather(-1, last_B1))


def keep_min_p(logits_BV: Tensor, p: float) -> Tensor:
    """Keep the tokens at least `p` times as probable as the most probable one."""
    probable_BV = logits_BV.softmax(-1)
    threshold_B1 = p * probable_BV.amax(-1, keepdim=True)
    return logits_BV.masked_fill(probable_BV < threshold_B1, float("-inf"))


def draw(logits_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """The first token, (B,), where the cumulative distribution exceeds the row's number."""
    cumulative_BV = logits_BV.softmax(-1).double().cumsum(-1)
    point_B1 = uniform_B.double().unsqueeze(-1) * cumulative_BV[:, -1:]
    return torch.searchsorted(cumulative_BV, point_B1, right=True).squeeze(-1)


def streams(seed: int | None, prompts: Sequence[Sequence[int]]) -> list[np.random.Generator]:
    """A stream of random numbers for each prompt.

    It follows from the seed, the prompt and how often the same prompt came before: neighbours do
    not matter, and the same prompt given five times is continued in five ways. Without a seed, it
    is new each time.
    """
    if seed is None:
        return [np.random.default_rng() for _ in prompts]
    earlier: Counter[tuple[int, ...]] = Counter()
    found = []
    for prompt in prompts:
        key = tuple(prompt)
        found.append(np.random.default_rng([seed, earlier[key], *key]))
        earlier[key] += 1
    return found


def _cut(logits_BV: Tensor, lowest_B1: Tensor) -> Tensor:
    return logits_BV.masked_fill(logits_BV < lowest_B1, float("-inf"))
