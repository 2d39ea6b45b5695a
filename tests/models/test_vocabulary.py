"""Rows for new tokens: near the mean, each its own; what was learned and padding stay."""

import torch

from xunlian.models.vocabulary import add_tokens


def table(rows=12, width=6, seed=1):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def grown(known, wanted, size, seed=3):
    weights = {"embedding.weight": table(), "head.weight": table(seed=2), "norm.weight": table(6)}
    return weights, add_tokens(weights, known=known, wanted=wanted, size=size, seed=seed)


def test_known_rows_and_other_tensors_stay_as_they_are():
    before, after = grown(known=10, wanted=15, size=15)
    for name in ("embedding.weight", "head.weight"):
        assert after[name].shape == (15, 6)
        assert torch.equal(after[name][:10], before[name][:10])
    assert after["norm.weight"] is before["norm.weight"]


def test_new_rows_are_the_mean_of_the_known_ones_with_a_little_noise():
    before, after = grown(known=10, wanted=15, size=15)
    known, new = before["head.weight"][:10], after["head.weight"][10:]
    distance = (new - known.mean(0)).abs() / known.std(0)
    assert distance.min() > 0 and distance.max() < 0.05
    assert len(new.unique(dim=0)) == 5
    assert not torch.equal(new, after["embedding.weight"][10:])


def test_padding_behind_the_new_tokens_is_kept():
    before, after = grown(known=8, wanted=10, size=12)
    assert torch.equal(after["head.weight"][10:], before["head.weight"][10:])
    assert not torch.equal(after["head.weight"][8:10], before["head.weight"][8:10])


def test_without_new_tokens_nothing_changes():
    before, after = grown(known=12, wanted=10, size=12)
    assert all(after[name] is before[name] for name in before)


def test_the_same_seed_gives_the_same_rows():
    one, two, other = (grown(10, 15, 15, seed)[1]["head.weight"] for seed in (3, 3, 4))
    assert torch.equal(one, two) and not torch.equal(one, other)
