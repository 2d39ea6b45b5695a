"""The key/value cache: what the model remembers of the tokens it has read.

Rows end together: the newest token of every row stands in the same column, and a shorter row
starts further right. So one step writes one column for all rows, and only the attention needs to
know where each row starts.

    row 0   . . a b c d        starts = [2, 0, 4]
    row 1   a b c d e f        used = 6
    row 2   . . . . a b

Shapes: B rows, G key/value heads, T columns, K width of a head.
"""

import torch
from torch import Tensor


class Cache:
    """Keys and values of every layer, each (B, G, T, K), allocated once.

    Attributes:
        used: columns that are filled.
        starts: for each row, the column of its first token.
    """

    def __init__(
        self,
        *,
        depth: int,
        rows: int,
        kv_heads: int,
        columns: int,
        head_width: int,
        dtype: torch.dtype,
        device: torch.device,
        turned_keys: bool = False,
    ):
        """`turned_keys`: in memory, keys lie as (B, G, K, T); their shape stays the same."""

        def zeros(*shape: int) -> Tensor:
            # Zeros: a masked column is still multiplied, and 0 times a stray NaN is NaN.
            return torch.zeros(rows, kv_heads, *shape, dtype=dtype, device=device)

        self.turned_keys = turned_keys
        self.keys = [
            zeros(head_width, columns).mT if turned_keys else zeros(columns, head_width)
            for _ in range(depth)
        ]
        self.values = [zeros(columns, head_width) for _ in range(depth)]
        self.dtype = dtype
        self.columns = columns
        self.used = 0
        self.starts = [0] * rows
        self._starts_B = torch.zeros(rows, dtype=torch.long, device=device)
        self._mask_B11T: Tensor | None = None

    def place(self, rows: list[int], length: int) -> None:
        """Say that these rows now hold `length` tokens, up to the last column used."""
        for row in rows:
            self.starts[row] = self.used - length
        self._refresh()

    def positions(self) -> Tensor:
        """(B, 1): the position, in its own row, of the next column."""
        return (self.used - self._starts_B).unsqueeze(1)

    def mask(self) -> Tensor | None:
        """(B, 1, 1, T): 0 where a row has a token, else -inf; None when all rows are full."""
        return self._mask_B11T

    def keep(self, rows: list[int]) -> None:
        """Forget all rows but these, and the columns that no row needs any more."""
        index = torch.tensor(rows, device=self._starts_B.device)
        self.starts = [self.starts[row] for row in rows]
        for layer, (keys, values) in enumerate(zip(self.keys, self.values, strict=True)):
            self.keys[layer] = (
                keys.mT.index_select(0, index).mT
                if self.turned_keys
                else keys.index_select(0, index)
            )
            self.values[layer] = values.index_select(0, index)
        self.close_up()

    def close_up(self) -> None:
        """Move everything left, so that the longest row starts at column 0."""
        shift = min(self.starts)
        if shift:
            left = self.used - shift
            for keys, values in zip(self.keys, self.values, strict=True):
                keys[:, :, :left] = keys[:, :, shift : self.used].clone()
                values[:, :, :left] = values[:, :, shift : self.used].clone()
            self.used = left
            self.starts = [start - shift for start in self.starts]
        self._refresh()

    def _refresh(self) -> None:
        device = self._starts_B.device
        self._starts_B = torch.tensor(self.starts, dtype=torch.long, device=device)
        self._mask_B11T = None
        if any(self.starts):
            columns_T = torch.arange(self.columns, device=device)
            empty_BT = columns_T < self._starts_B.unsqueeze(1)
            mask_BT = torch.zeros(empty_BT.shape, dtype=self.dtype, device=device)
            self._mask_B11T = mask_BT.masked_fill_(empty_BT, float("-inf"))[:, None, None]
