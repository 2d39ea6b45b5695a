"""The beginning of a text that was read before: it need not be read again.

Prefix caching, as in SGLang (arXiv 2312.07104), of one text: the keys and values of a token depend
on those before it alone, so what two texts begin with has the same ones.

Shapes: B rows, L length, T columns, H heads, G key/value heads, K width of a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

QUERY_BLOCK = 512  # queries that attend together; their mask is so many rows


@dataclass(frozen=True)
class Prefix:
    """Tokens that were read, and of every layer their keys and values, (1, G, T, K).

    There may be more columns than tokens, until it is cut (`first`).
    """

    tokens: list[int]
    keys: list[Tensor]
    values: list[Tensor]

    def shared_with(self, text: Sequence[int]) -> int:
        """How many tokens of `text` need not be read: those that both begin with, but never its
        last, whose logits are wanted."""
        most = min(len(self.tokens), len(text) - 1)
        return next((n for n in range(most) if self.tokens[n] != text[n]), most)

    def first(self, count: int) -> "Prefix":
        """Its first tokens alone."""
        keys, values = ([x[:, :, :count] for x in layers] for layers in (self.keys, self.values))
        return Prefix(self.tokens[:count], keys, values)

    def before(self, layer: int, k_BGLK: Tensor, v_BGLK: Tensor) -> tuple[Tensor, Tensor]:
        """All its keys and values with those of what follows it, (B, G, T + L, K) each."""
        if not self.tokens:
            return k_BGLK, v_BGLK
        k, v = (x[layer].expand(len(k_BGLK), -1, -1, -1) for x in (self.keys, self.values))
        return torch.cat([k, k_BGLK], dim=2), torch.cat([v, v_BGLK], dim=2)


NOTHING = Prefix([], [], [])


def attend_to_the_past(q_BHLK: Tensor, k_BHTK: Tensor, v_BHTK: Tensor) -> Tensor:
    """softmax(q k') v, (B, H, L, K), where the queries are of the last L positions of T."""
    length, columns = q_BHLK.shape[2], k_BHTK.shape[2]
    if length == columns:
        return F.scaled_dot_product_attention(q_BHLK, k_BHTK, v_BHTK, is_causal=True, scale=1.0)
    mixed = []
    for start in range(0, length, QUERY_BLOCK):
        q_block = q_BHLK[:, :, start : start + QUERY_BLOCK]
        first = columns - length + start
        end = first + q_block.shape[2]
        seen = torch.ones(end - first, end, dtype=torch.bool, device=q_block.device).tril(first)
        k, v = k_BHTK[:, :, :end], v_BHTK[:, :, :end]
        mixed.append(F.scaled_dot_product_attention(q_block, k, v, attn_mask=seen, scale=1.0))
    return torch.cat(mixed, dim=2)
