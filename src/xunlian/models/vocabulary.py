"""Room for more tokens in a trained network, such as those that mark the turns of a chat.

Notable idea: a new token starts as the mean of all others with a little noise, so that it is
neither found nor missed: its logit is about the mean of the others', which hardly changes their
probabilities (John Hewitt, "Initializing New Word Embeddings for Pretrained Language Models",
https://www.cs.columbia.edu/~johnhew/vocab-expansion.html). Random rows may have huge logits.

Shapes: V tokens, D width.
"""

import torch
from torch import Tensor

NOISE = 0.01  # of the standard deviation of each column: new tokens shall not all be the same

_TABLES = ("embedding.weight", "head.weight")
_BIAS = "head_bias"  # (1, V)
_TABLE_PREFIX = "values."  # of the speedrun decoder


@torch.no_grad()
def add_tokens(
    weights: dict[str, Tensor], *, known: int, wanted: int, size: int, seed: int
) -> dict[str, Tensor]:
    """The state dictionary of a network with `size` rows in its embedding and head.

    Args:
        weights: that of the network as it is, on one device.
        known: tokens that its tokenizer has; rows behind them are padding that learned nothing.
        wanted: tokens that there shall be; rows `known` to `wanted` are made anew.
        size: rows, at least as many as there are and as `wanted`.
        seed: of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    grown = {}
    for name, tensor in weights.items():
        if name in _TABLES or name.startswith(_TABLE_PREFIX):
            tensor = _grown(tensor, known, wanted, size, generator)
        elif name == _BIAS:
            tensor = _grown(tensor.t(), known, wanted, size, generator).t()
        grown[name] = tensor
    return grown


def _grown(
    table_VD: Tensor, known: int, wanted: int, size: int, generator: torch.Generator
) -> Tensor:
    if wanted <= known and size == len(table_VD):
        return table_VD
    learned_VD = table_VD[:known]
    mean_D, spread_D = learned_VD.mean(0), learned_VD.std(0)
    grown_VD = mean_D.repeat(size, 1)
    grown_VD[: len(table_VD)] = table_VD
    if wanted > known:
        noise_VD = torch.randn(wanted - known, len(mean_D), generator=generator)
        grown_VD[known:wanted] = mean_D + NOISE * spread_D * noise_VD.to(mean_D.device)
    return grown_VD
