"""A short training's head start: which token follows which, learned from counts.

Much of what a network learns at first are the followers of each token, and it sees one of them at a
time. Counted over the corpus they are known at once. (arXiv 2212.09686 starts from the counts of
single tokens; this is the next step.)

Notable ideas:
- Where no block writes yet, a decoder is a function of one token. The last block's feed-forward
  part learns here, and the embedding, the last norm and the head with it: a few updates, each from
  the counted followers of all frequent tokens, so that no gradient has the noise of a sample.
- Attention still adds nothing afterwards, so the whole network predicts as well from the start.
- While nothing else writes into the residual stream, its scale is free where the embedding is the
  head, too: small while it learns from counts, then larger, so that what the other blocks write
  at first is small beside it.

Shapes: V vocabulary, C tokens that are learned from, F different pairs, D model width; N tokens
and P pairs at a time.
"""

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xunlian.models.decoder import Block, Decoder
from xunlian.models.losses import chunk_positions
from xunlian.shards.stream import TokenStream
from xunlian.training.optimizers import Optimizers, OptimizerSettings
from xunlian.training.schedule import momentum_factor

UPDATES = 20
WARM_UPDATES = 5
LEAST_RATE = 0.3  # of the peak, in the last update
MOST_CONTEXTS = 8192  # tokens whose followers are learned: the most frequent ones
MOST_COUNTED = 1 << 23  # tokens, 200 MB while they are sorted
PIECE = 1 << 16  # tokens that are read in a row
# How much smaller the stream of a tied network is meanwhile, and its embedding's rate then.
TIED_SCALE, TIED_RATE = 0.2, 0.02


@dataclass(frozen=True)
class Bigrams:
    """Which tokens follow which.

    Args:
        tokens: (C,) those whose followers are known, the most frequent ones.
        shares: (C,) how often each comes, of all of them.
        bounds: (C + 1,) where the followers of each begin in the next two, and the end.
        followers: (F,) tokens.
        likely: (F,) how often each is what follows.
    """

    tokens: Tensor
    shares: Tensor
    bounds: list[int]
    followers: Tensor
    likely: Tensor


def count_bigrams(stream: TokenStream, vocab_size: int) -> Bigrams:
    """Pairs of neighbours in pieces spread evenly over `stream`, at most MOST_COUNTED tokens."""
    pieces = min(len(stream), MOST_COUNTED) // PIECE or 1
    firsts = [len(stream) * piece // pieces for piece in range(pieces)]
    keys = np.concatenate(
        [
            read[:-1] * vocab_size + read[1:]
            for read in (stream.read(i, min(i + PIECE, len(stream))) for i in firsts)
        ]
    )
    pairs, counts = np.unique(keys, return_counts=True)
    tokens, followers = np.divmod(pairs, vocab_size)
    totals = np.bincount(tokens, weights=counts, minlength=vocab_size)
    kept = np.sort(np.argsort(-totals, kind="stable")[:MOST_CONTEXTS])
    kept = kept[totals[kept] > 0]
    chosen = np.isin(tokens, kept)
    likely = counts[chosen] / totals[tokens[chosen]]
    return Bigrams(
        torch.from_numpy(kept),
        torch.from_numpy(totals[kept] / totals[kept].sum()).float(),
        np.searchsorted(tokens[chosen], [*kept, vocab_size]).tolist(),
        torch.from_numpy(followers[chosen]),
        torch.from_numpy(likely).float(),
    )


class _OneToken(nn.Module):
    """A decoder without attention, and with its last feed-forward part alone."""

    def __init__(self, model: Decoder):
        super().__init__()
        block = model.blocks[-1]
        assert isinstance(block, Block)
        self.embedding, self.norm, self.head = model.embedding, model.norm, model.head
        self.mlp_norm, self.mlp = block.mlp_norm, block.mlp

    def forward(self, tokens_N: Tensor, dtype: torch.dtype) -> Tensor:
        """Hidden states (N, D)."""
        x_ND = self.embedding(tokens_N).to(dtype)
        hidden_ND: Tensor = self.norm(x_ND + self.mlp(x_ND, self.mlp_norm))
        return hidden_ND


def start_from_bigrams(
    model: Decoder, bigrams: Bigrams, settings: OptimizerSettings, dtype: torch.dtype
) -> tuple[float, float]:
    """Teach a network with the weights of `initialize` the followers of each token.

    Returns the cross-entropy of the last update (nats), and the seconds it took.
    """
    started = time.monotonic()
    tied = model.head is None
    if tied:
        settings = replace(settings, embedding_learning_rate=TIED_RATE * _by_width(model))
        _scale_stream(model, TIED_SCALE)
    network = _OneToken(model)
    optimizers = Optimizers(network, replace(settings, average_decay=0.0))
    loss = 0.0
    for update in range(UPDATES):
        loss = _backward(network, bigrams, model.head_weight, dtype)
        falling = (UPDATES - update) / UPDATES * 2
        rate = min((update + 1) / WARM_UPDATES, 1.0, max(LEAST_RATE, falling))
        optimizers.step(rate, momentum_factor(update))
    if tied:
        _scale_stream(model, 1 / TIED_SCALE)
    return loss, time.monotonic() - started


def _by_width(model: Decoder) -> float:
    return float((model.config.width / 384) ** -0.5)


@torch.no_grad()
def _scale_stream(model: Decoder, factor: float) -> None:
    """Make all that is written into the stream `factor` times as large; predictions stay."""
    model.embedding.weight.mul_(factor)
    model.blocks[-1].get_parameter("mlp.output.weight").mul_(factor)
    model.norm.get_parameter("weight").div_(factor)


def _backward(network: _OneToken, bigrams: Bigrams, head_VD: Tensor, dtype: torch.dtype) -> float:
    """Leave the gradients of the mean cross-entropy over all tokens; returns it, in nats."""
    hidden_CD = network(bigrams.tokens.to(head_VD.device), dtype)
    by_hidden, by_head = torch.empty_like(hidden_CD), torch.zeros_like(head_VD)
    cast_VD = head_VD.detach().to(dtype)
    size = chunk_positions(head_VD)
    loss = 0.0
    with torch.no_grad():
        for first in range(0, len(hidden_CD), size):
            last = min(first + size, len(hidden_CD))
            part = slice(first, last)
            logs_NV = F.log_softmax(F.linear(hidden_CD[part], cast_VD).float(), -1)
            shares_N = bigrams.shares[part].to(logs_NV)
            places, likely_P = _followers(bigrams, first, last, logs_NV)
            wanted_P = likely_P * shares_N[places[0]]
            loss -= float(wanted_P @ logs_NV[places])
            # Only few tokens follow each, so what is wanted is taken off where it is not 0.
            slopes_NV = logs_NV.exp_().mul_(shares_N.unsqueeze(1))
            slopes_NV = slopes_NV.index_put_(places, -wanted_P, accumulate=True).to(dtype)
            by_hidden[part] = slopes_NV @ cast_VD
            by_head += slopes_NV.t() @ hidden_CD[part]
    hidden_CD.backward(by_hidden)
    head_VD.grad = by_head if head_VD.grad is None else head_VD.grad + by_head
    return loss


def _followers(
    bigrams: Bigrams, first: int, last: int, like_NV: Tensor
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Rows and columns of (N, V) where a token follows one of the learned ones first..last-1, (P,)
    each, and how likely it does, (P,)."""
    bounds = torch.tensor(bigrams.bounds[first : last + 1])
    rows = torch.repeat_interleave(torch.arange(last - first), bounds.diff())
    here = slice(bigrams.bounds[first], bigrams.bounds[last])
    places = rows.to(like_NV.device), bigrams.followers[here].to(like_NV.device)
    return places, bigrams.likely[here].to(like_NV)
