"""DoRA of a matrix with rows of zeros, as a fresh network has them."""

import torch

from xunlian.models.low_rank import LowRank


def test_a_row_of_zeros_gives_zero_and_learns_all_the_same():
    generator = torch.Generator().manual_seed(1)
    weight_OI = torch.randn(4, 8, generator=generator)
    weight_OI[1] = 0
    down = torch.nn.Parameter(torch.randn(2, 8, generator=generator))
    layer = LowRank(weight_OI, down, scale=1.0, dropout=0.0, with_lengths=True)
    x = torch.randn(16, 8, generator=generator)
    wanted = torch.randn(16, 4, generator=generator)
    torch.testing.assert_close(layer(x, weight_OI, None), x @ weight_OI.t())
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        loss = (layer(x, weight_OI, None)[:, 1] - wanted[:, 1]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    merged_OI = layer.merged(weight_OI)
    assert merged_OI.isfinite().all()
    torch.testing.assert_close(layer(x, weight_OI, None), x @ merged_OI.t())
