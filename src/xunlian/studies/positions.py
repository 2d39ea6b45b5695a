"""What a model makes of its context: validation loss by how much it has read.

A model that uses what is far away predicts better the more it has before it; one that forgets stays
where it was. So the curve over positions shows how far back a family can look (as in Khandelwal et
al., "Sharp Nearby, Fuzzy Far Away", arXiv 1805.04623). Every window begins with nothing before it,
also for recurrent networks, which could go on with their state: all families see the same.

Positions are put together by powers of two: 1, 2, 3-4, 5-8, ... up to the context.

Shapes: B rows, S source length, T target length, L length, N positions, V vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from xunlian.data.packed import Stream
from xunlian.data.pairs import Documents
from xunlian.data.sorted_pairs import SortedPairs
from xunlian.evaluation.perplexity import count_windows, evaluating
from xunlian.interop.huggingface import Model
from xunlian.models.encoder_decoder import EncoderDecoder
from xunlian.models.losses import IGNORED, chunk_positions

BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Bucket:
    """The mean loss, in nats, of the tokens at places first .. last, counted from 1."""

    first: int
    last: int
    loss: float
    tokens: int


def text_positions(
    model: Model, stream: Stream, context: int, dtype: torch.dtype, most_tokens: int | None = None
) -> list[Bucket]:
    """Loss by the number of tokens read before, of the validation text in windows of the context.

    With all of the text, the mean over all tokens is `val_loss`.

    Args:
        most_tokens: about so many are enough; they are taken from all over the text.
    """
    windows = count_windows(len(stream), context)
    some = windows if most_tokens is None else min(windows, max(1, most_tokens // context))
    chosen = np.unique(np.linspace(0, windows - 1, some).round().astype(np.int64))
    nats, tokens = np.zeros(context + 1), np.zeros(context + 1, dtype=np.int64)
    with evaluating(model):
        for rows in np.array_split(chosen, -(-len(chosen) * context // BATCH_TOKENS)):
            read = [stream.read(r * context, min((r + 1) * context + 1, len(stream))) for r in rows]
            inputs_BL = np.zeros((len(rows), context), dtype=np.int64)
            targets_BL = np.full_like(inputs_BL, IGNORED)
            for i, window in enumerate(read):
                inputs_BL[i, : len(window) - 1] = window[:-1]
                targets_BL[i, : len(window) - 1] = window[1:]
            hidden_BLD = model(_tensor(inputs_BL, model), dtype)
            losses_BL = target_losses(hidden_BLD, model.head_weight, _tensor(targets_BL, model))
            kept_BL = targets_BL != IGNORED
            nats[1:] += np.where(kept_BL, losses_BL, 0.0).sum(0)
            tokens[1:] += kept_BL.sum(0)
    return list(_buckets(nats, tokens))


def pair_positions(
    model: Model,
    source: Documents,
    target: Documents,
    context: int,
    start_id: int,
    dtype: torch.dtype,
) -> tuple[list[Bucket], list[Bucket]]:
    """Loss of the targets by their place, and by the length of their source.

    Raises:
        InputError: no pair fits the context.
    """
    rows = SortedPairs(source, target, context, BATCH_TOKENS // context or 1, start_id, None)
    size = context + 1
    by_place = np.zeros(size), np.zeros(size, dtype=np.int64)
    by_length = np.zeros(size), np.zeros(size, dtype=np.int64)
    with evaluating(model):
        for first in range(0, rows.rows_per_epoch, rows.shares):
            source_BS, marks_BS, inputs_BT, targets_BT = (
                array.reshape(-1, array.shape[-1]) for array in rows.read(first, rows.shares)
            )
            arrays = [source_BS, marks_BS, inputs_BT]
            if isinstance(model, EncoderDecoder):
                arrays.append(np.zeros_like(inputs_BT))  # one pair a row
            hidden_BTD = model(*(_tensor(array, model) for array in arrays), dtype)
            losses_BT = target_losses(hidden_BTD, model.head_weight, _tensor(targets_BT, model))
            kept_BT = targets_BT != IGNORED
            place_BT = np.broadcast_to(np.arange(1, targets_BT.shape[1] + 1), targets_BT.shape)
            length_B1 = (marks_BS == 0).sum(1, keepdims=True)
            for (nats, tokens), where_BT in (
                (by_place, place_BT),
                (by_length, np.broadcast_to(length_B1, targets_BT.shape)),
            ):
                nats += np.bincount(where_BT[kept_BT], losses_BT[kept_BT], minlength=size)
                tokens += np.bincount(where_BT[kept_BT], minlength=size)
    return list(_buckets(*by_place)), list(_buckets(*by_length))


def target_losses(hidden_BLD: Tensor, weight_VD: Tensor, targets_BL: Tensor) -> np.ndarray:
    """-log p of each target in nats (B, L), float64; 0 where there is none."""
    hidden_ND, targets_N = hidden_BLD.flatten(0, 1), targets_BL.flatten()
    cast_VD = weight_VD.to(hidden_ND.dtype)
    size = chunk_positions(weight_VD)
    losses = [
        F.cross_entropy(
            F.linear(hidden, cast_VD).float(), targets, ignore_index=IGNORED, reduction="none"
        )
        for hidden, targets in zip(hidden_ND.split(size), targets_N.split(size), strict=True)
    ]
    return torch.cat(losses).reshape(targets_BL.shape).double().cpu().numpy()


def _buckets(nats: np.ndarray, tokens: np.ndarray) -> Iterator[Bucket]:
    """From sums at each place (from 0; place 0 is not used) to means over powers of two."""
    first, last = 1, 1
    while first < len(nats):
        part = slice(first, last + 1)
        if tokens[part].sum():
            yield Bucket(
                first,
                min(last, len(nats) - 1),
                float(nats[part].sum() / tokens[part].sum()),
                int(tokens[part].sum()),
            )
        first, last = last + 1, 2 * last


def _tensor(array: np.ndarray, model: Model) -> Tensor:
    return torch.from_numpy(array).to(model.head_weight.device)
