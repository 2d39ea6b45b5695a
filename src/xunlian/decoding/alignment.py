"""Which source word each target word came from, as the attention between them says.

The next to last decoder layer, averaged over its heads, aligns best (arXiv 1909.02074). Every
target unit is given the source unit that its tokens looked at most. A unit is a word between
spaces; in a text without spaces (Chinese), a character. Pairs are written as Moses and Marian do,
`0-0 1-2`: source unit, target unit, from 0 (the Pharaoh format).

Shapes: B sentences, W hypotheses of each, S source tokens, T target tokens.
"""

import bisect
import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from xunlian.decoding.beam import Searches
from xunlian.decoding.sentences import NO_SPACES

Decode = Callable[[Sequence[int]], str]

# A character of a script without spaces, or a run of others between spaces.
_UNIT = re.compile(f"[{NO_SPACES}]|[^\\s{NO_SPACES}]+")


@torch.inference_mode()
def attention_weights(
    engine: Searches,
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[Sequence[int]]],
    start_id: int,
) -> list[list[Tensor]]:
    """How much every token of each target (W for each source) looks at its source: (T, S)."""
    beams, longest = len(targets[0]), max(len(target) for part in targets for target in part)
    layer = max(0, engine.config.decoder_depth - 2)
    padded = torch.full((len(sources), beams, longest + 1), start_id)
    for i, part in enumerate(targets):
        for j, target in enumerate(part):
            padded[i, j, 1 : len(target) + 1] = torch.tensor(target, dtype=torch.long)
    padded = padded.to(engine.device)
    cache = engine.begin(sources)
    cache.follow(torch.zeros(len(sources), beams, dtype=torch.long, device=engine.device))
    steps = []
    for place in range(longest):
        _, weights = engine.step(cache, padded[:, :, place], layer)
        assert weights is not None
        steps.append(weights)
    if not steps:
        return [[torch.zeros(0, len(source))] * beams for source in sources]
    weights_BWTS = torch.stack(steps, dim=2).cpu()
    return [
        [weights_BWTS[i, j, : len(target), : len(sources[i])] for j, target in enumerate(part)]
        for i, part in enumerate(targets)
    ]


def aligned_units(
    weights_TS: Tensor,
    source: Sequence[int],
    target: Sequence[int],
    decode_source: Decode,
    decode_target: Decode,
) -> list[tuple[int, int]]:
    """Pairs (source unit, target unit), ordered by target."""
    source_units = units_of_tokens(source, decode_source)
    target_units = units_of_tokens(target, decode_target)
    pairs = []
    columns = torch.tensor(source_units)
    kept = columns >= 0  # special tokens before the first unit are none
    for unit in sorted({unit for unit in target_units if unit >= 0} if kept.any() else ()):
        rows = torch.tensor([other == unit for other in target_units])
        looked_S = weights_TS[rows].sum(0)[kept]
        by_unit = torch.zeros(int(columns.max()) + 1).index_add_(0, columns[kept], looked_S)
        pairs.append((int(by_unit.argmax()), unit))
    return pairs


def count_units(text: str) -> int:
    return sum(1 for _ in _UNIT.finditer(text))


def units_of_tokens(tokens: Sequence[int], decode: Decode) -> list[int]:
    """For each token, the unit of the whole text that it ends in; -1 before the first."""
    starts = [match.start() for match in _UNIT.finditer(decode(tokens))]
    lengths = (len(decode(tokens[:count])) for count in range(1, len(tokens) + 1))
    return [bisect.bisect_left(starts, length) - 1 for length in lengths]
