"""How well a model rates answers whose ratings are known: accuracy, and the area under the curve.

The area under the ROC curve is the probability that of two answers, one rated 1 and one 0, the
model gives the first the larger P(1); ties count half (the Mann-Whitney statistic; T. Fawcett, "An
introduction to ROC analysis", 2006). It does not depend on how common a rating is; accuracy does,
so that of always saying the more common rating stands beside it.

Shapes: B rows, L places, D width, N ratings.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from xunlian.data.conversations import ChatRows
from xunlian.evaluation.chats import BATCH_TOKENS
from xunlian.evaluation.perplexity import evaluating
from xunlian.models.decoder import Decoder


def rate_rows(
    model: Decoder, rows: ChatRows, ratings: tuple[int, int], dtype: torch.dtype
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every rating in `rows`: the id of the attribute, the rating, and P(1); (N,) each.

    `ratings` are the ids of the ratings 0 and 1.
    """
    size, found = max(1, BATCH_TOKENS // rows.context), []
    device = model.head_weight.device
    head_2D = model.head_weight[list(ratings)].to(dtype)
    with evaluating(model):
        for first in range(0, rows.rows_per_epoch, size):
            arrays = rows.read(first, min(size, rows.rows_per_epoch - first))
            inputs, numbers, positions, targets = (
                torch.from_numpy(array).to(device) for array in arrays
            )
            here = (targets == ratings[0]) | (targets == ratings[1])
            if not here.any():
                continue
            hidden_BLD = model.confined(inputs, numbers, positions, dtype)
            likely_N2 = F.linear(hidden_BLD[here], head_2D).float().softmax(-1)
            given_N = targets[here] == ratings[1]
            found.append((inputs[here].cpu(), given_N.long().cpu(), likely_N2[:, 1].cpu()))
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    attributes, given, likely = (torch.cat(parts).numpy() for parts in zip(*found, strict=True))
    return attributes, given, likely


def score_ratings(given_N: np.ndarray, likely_N: np.ndarray) -> dict[str, float]:
    """Of one attribute: `count`, `accuracy`, that of the `majority`, and `auc` where there are
    ratings of both kinds."""
    count, ones = len(given_N), int(given_N.sum())
    scores = {
        "count": count,
        "accuracy": float(((likely_N >= 0.5) == given_N).mean()),
        "majority": max(ones, count - ones) / count,
    }
    if 0 < ones < count:
        scores["auc"] = area_under_curve(given_N, likely_N)
    return scores


def area_under_curve(given_N: np.ndarray, likely_N: np.ndarray) -> float:
    """The area under the ROC curve, from ranks."""
    _, place, counts = np.unique(likely_N, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]  # of equal values their mean
    ones = int(given_N.sum())
    above = ranks[given_N == 1].sum() - ones * (ones + 1) / 2
    return float(above / (ones * (len(given_N) - ones)))


def scores_of_rows(
    model: Decoder,
    rows: ChatRows,
    attributes: Mapping[str, int],
    ratings: tuple[int, int],
    dtype: torch.dtype,
) -> dict[str, dict[str, Any]]:
    """Attribute -> its scores (`score_ratings`), of those that are rated in `rows`."""
    asked, given, likely = rate_rows(model, rows, ratings, dtype)
    return {
        name: score_ratings(given[asked == token], likely[asked == token])
        for name, token in attributes.items()
        if (asked == token).any()
    }
