"""First weights of heads that copy: what followed a token before is likely to follow it again.

A text repeats its names and words, but a network finds out late how to make use of it, because two
blocks must agree on it: one head has to tell every position which token stands before it, and
another one, further up, to look where the token that it stands on was the one before (induction
heads, arXiv 2209.11895). Until then none of both gains anything. Here they start so, written by
hand into matrices that are random otherwise (as arXiv 2305.09828 does with what attention layers
look like after training), and learn on from there.

Notable ideas:
- To look at the token before takes queries and keys that do not depend on tokens. All embeddings
  get a small direction in common, which the head reads alone; an output head that is tied to the
  embedding does not mind, because it adds the same to all logits. Queries and keys along the
  fastest rotary angles agree best where these are one position apart.
- To look for a token takes queries and keys that do not depend on positions: the slowest angles.

Shapes: V vocabulary, D model width, K width of a head, P half of it.
"""

import math

import torch
from torch import Tensor

from xunlian.models.attention import CausalSelfAttention
from xunlian.models.decoder import Decoder
from xunlian.models.layers import rotary_frequencies

COMMON = 0.5  # size of the common direction, in that of an embedding
SHARPNESS = 2.0  # size of the written rows; norms of queries and keys take it out, steps do not
FAST_ANGLES = 4  # pairs along which neighbours are found
SLOW_TURN = 2.0  # radians by which a pair may turn over the whole context to count as slow
TOLD = 2.0  # size of the token before, as it is written into the stream, in that of an embedding
COPIED = 2.0  # size of what is copied, likewise


@torch.no_grad()
def set_up_copying(model: Decoder, generator: torch.Generator, block: int = 1) -> None:
    """Write such heads into block 0 and another one of a network from `initialize`.

    Args:
        model: with norms of queries and keys, which make the size of their weights indifferent.
        generator: of the directions that are chosen at random.
        block: above 0, which is to copy. Half of its heads do.
    """
    config = model.config
    width, head_width = config.width, config.head_width
    table_VD = model.embedding.weight
    size = float(table_VD.std())
    common_D = _orthonormal(width, 1, generator).squeeze(1)
    table_VD += COMMON * size * math.sqrt(width) * common_D
    turns_P = rotary_frequencies(head_width, config.rope_theta)
    # What is read of a token, and where it is written: without the common direction.
    read_KD, written_DK = (
        _without(common_D, _orthonormal(width, head_width, generator)) for _ in range(2)
    )
    read_KD = read_KD.mT

    first, copying = (model.blocks[number].attention for number in (0, block))
    assert isinstance(first, CausalSelfAttention) and isinstance(copying, CausalSelfAttention)
    # The norm before the block made tokens smaller beside the common direction.
    told = TOLD * size * math.sqrt(1 + COMMON**2)
    _look_back(first, common_D, read_KD, told * written_DK, turns_P)

    slow_P = turns_P * config.context <= max(SLOW_TURN, float(turns_P[-1] * config.context))
    queries_a_key = config.heads // config.kv_heads
    for number in range((config.kv_heads + 1) // 2):
        copied_DK = _orthonormal(width, head_width, generator)
        heads = number * queries_a_key, number
        _find(copying, heads, read_KD, written_DK, slow_P)
        _head(copying.value.weight, number, head_width).copy_(copied_DK.mT)
        _head(copying.output.weight.mT, heads[0], head_width).copy_(COPIED * size * copied_DK.mT)


def _look_back(
    attention: CausalSelfAttention,
    common_D: Tensor,
    read_KD: Tensor,
    written_DK: Tensor,
    turns_P: Tensor,
) -> None:
    """Make the first head tell every position which token stands before it.

    Args:
        common_D: the direction that all positions share: queries and keys read nothing else.
        read_KD: what is read of the token before.
        written_DK: where and how large it is written.
        turns_P: radians by which a pair turns from one position to the next.
    """
    head_width = read_KD.shape[0]
    fast_P = (torch.arange(len(turns_P)) < FAST_ANGLES) / math.sqrt(FAST_ANGLES)
    back_K = torch.cat([fast_P * turns_P.cos(), -fast_P * turns_P.sin()])
    here_K = torch.cat([fast_P, torch.zeros_like(fast_P)])
    _head(attention.query.weight, 0, head_width).copy_(SHARPNESS * torch.outer(back_K, common_D))
    _head(attention.key.weight, 0, head_width).copy_(SHARPNESS * torch.outer(here_K, common_D))
    _head(attention.value.weight, 0, head_width).copy_(read_KD)
    _head(attention.output.weight.mT, 0, head_width).copy_(written_DK.mT)


def _find(
    attention: CausalSelfAttention,
    heads: tuple[int, int],
    read_KD: Tensor,
    written_DK: Tensor,
    slow_P: Tensor,
) -> None:
    """Make a head look where the token that it stands on was told to be the one before.

    Args:
        heads: the numbers of the query's head and of the key's.
        read_KD, written_DK: what `_look_back` read of a token, and where it was written.
        slow_P: of which pairs, 1 where position hardly turns them.
    """
    query, key = heads
    slow_K1, head_width = slow_P.repeat(2).unsqueeze(1), read_KD.shape[0]
    _head(attention.query.weight, query, head_width).copy_(SHARPNESS * slow_K1 * read_KD)
    _head(attention.key.weight, key, head_width).copy_(SHARPNESS * slow_K1 * written_DK.mT)


def _head(weight_ND: Tensor, number: int, head_width: int) -> Tensor:
    """The rows of a head, (K, D)."""
    return weight_ND[number * head_width : (number + 1) * head_width]


def _orthonormal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """`columns` directions at random, at right angles to each other: (rows, columns)."""
    return torch.linalg.qr(torch.randn(rows, columns, generator=generator))[0]


def _without(direction_D: Tensor, columns_DK: Tensor) -> Tensor:
    return columns_DK - torch.outer(direction_D, direction_D @ columns_DK)
