"""Figures from counts of right answers, each with its source."""

import math
from statistics import NormalDist


def pass_at_k(samples: int, right: int, k: int) -> float:
    """The probability that of k answers, drawn from `samples` of which `right` are right, at least
    one is: 1 - C(n - c, k) / C(n, k), the unbiased estimate of Chen et al. (arXiv 2107.03374).

    Args:
        samples: n >= k >= 1.
        right: c, 0 to n.
    """
    assert 1 <= k <= samples and 0 <= right <= samples
    return 1 - math.comb(samples - right, k) / math.comb(samples, k)


def wilson_interval(right: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Between which shares the true one lies (Wilson 1927,
    https://doi.org/10.1080/01621459.1927.10502953), which holds for few and for extreme counts.

    Args:
        count: at least 1.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = right / count
    middle = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)
