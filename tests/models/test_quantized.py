"""Frozen matrices in few bits: what is kept, and products and gradients beside an adapter."""

import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from xunlian.models.adapter import adapted_layers, add_adapters, freeze_base, quantize_blocks
from xunlian.models.layers import Linear
from xunlian.models.quantized import Quantized

NEEDS = "bitsandbytes is not installed"
OUTPUTS, INPUTS = 24, 40  # a block of 64 weights crosses rows, and the last one is not full


def needs_library(kind):
    if kind == "nf4":
        pytest.importorskip("bitsandbytes", reason=NEEDS)


def random_matrix(outputs=OUTPUTS, inputs=INPUTS):
    return torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(3)) / 8


def restored_by_hand(weight, kind):
    """int8 in whole numbers; nf4 by the library's two documented functions."""
    if kind == "int8":
        largest = weight.abs().max(1, keepdim=True).values
        return torch.round(weight * (127 / largest)) * (largest / 127)
    functional = pytest.importorskip("bitsandbytes", reason=NEEDS).functional
    return functional.dequantize_4bit(
        *functional.quantize_4bit(weight, compress_statistics=True, quant_type="nf4")
    )


@pytest.mark.parametrize("kind", ["int8", "nf4"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_a_matrix_is_restored_as_by_hand(kind, dtype):
    needs_library(kind)
    weight = random_matrix()
    found = Quantized(weight, kind).restored(dtype)
    assert found.dtype == dtype
    # bf16: what is rounded once more may fall to the other side.
    tolerance = {"atol": 0, "rtol": 2**-7} if dtype == torch.bfloat16 else {}
    torch.testing.assert_close(found, restored_by_hand(weight, kind).to(dtype), **tolerance)


def test_rows_in_8_bits_are_those_of_bitsandbytes():
    functional = pytest.importorskip("bitsandbytes", reason=NEEDS).functional
    weight = random_matrix().half()
    packed, largest, _ = functional.int8_vectorwise_quant(weight)
    ours, scale = Quantized(weight.float(), "int8").parts
    assert torch.equal(ours, packed)
    torch.testing.assert_close(scale, largest / 127)


def test_blocks_in_4_bits_are_the_nearest_of_the_paper_s_sixteen_values():
    """The values are appendix E of arXiv 2305.14314; without the second quantization of scales."""
    needs_library("nf4")
    values = torch.tensor([
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
        -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
        0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
        0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
    ])  # fmt: skip
    blocks = random_matrix(32, 64)
    largest = blocks.abs().max(1, keepdim=True).values
    nearest = (blocks / largest).unsqueeze(-1).sub(values).abs().argmin(-1)
    found = Quantized(blocks, "nf4").restored(torch.float32)
    # The scales of 8 bits differ from the true ones by little; the choice of values does not.
    torch.testing.assert_close(found, values[nearest] * largest, rtol=0.02, atol=0)


@pytest.mark.parametrize(("kind", "bytes_a_weight"), [("int8", 1.0), ("nf4", 0.516)])
def test_what_is_kept_is_small(kind, bytes_a_weight):
    needs_library(kind)
    quantized = Quantized(random_matrix(256, 512), kind)
    kept = sum(part.numel() * part.element_size() for part in quantized.parameters())
    beside = 4 * 256 + 4  # a scale a row, or a table of scales
    assert bytes_a_weight * 256 * 512 <= kept + 1 and kept <= bytes_a_weight * 256 * 512 + beside


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_rows_of_zeros_stay_zeros(kind):
    needs_library(kind)
    weight = random_matrix(4, 64)
    weight[1] = 0
    assert not Quantized(weight, kind).restored(torch.float32)[1].any()
    assert not Quantized(torch.zeros(4, 64), kind).restored(torch.float32).any()


class Block(torch.nn.Module):
    """A layer of a network, as networks have them."""

    def __init__(self):
        super().__init__()
        self.layer = Linear(INPUTS, OUTPUTS)
        self.embedding = torch.nn.Identity()  # whose place in a network freezing asks for


def adapted_block(kind, dora):
    """A block whose matrix is quantized and whose adapter changes much."""
    block = Block()
    with torch.no_grad():
        block.layer.weight.copy_(random_matrix())
    quantize_blocks([block], kind)
    add_adapters(
        block, [["layer"]], rank=3, scale=2.0, dropout=0.0, with_lengths=dora,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    freeze_base(block, torch.bfloat16)
    adapter = adapted_layers(block)["layer"]
    with torch.no_grad():
        adapter.up.add_(torch.randn(adapter.up.shape, generator=torch.Generator().manual_seed(2)))
    return block, adapter


@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_outputs_and_gradients_are_those_of_plain_products_with_the_restored_matrix(kind, dora):
    needs_library(kind)
    block, adapter = adapted_block(kind, dora)
    x = torch.randn(2, 5, INPUTS, generator=torch.Generator().manual_seed(4), requires_grad=True)
    learned = list(adapter.parameters())
    y = block.layer(x)
    found = torch.autograd.grad(y.square().sum(), [x, *learned])

    frozen = restored_by_hand(random_matrix(), kind)
    summed = frozen + 2.0 * adapter.up @ adapter.down
    if dora:
        assert torch.allclose(adapter.magnitude, frozen.norm(dim=1), atol=1e-5)
        summed = summed * (adapter.magnitude / summed.norm(dim=1).detach()).unsqueeze(1)
    expected = F.linear(x, summed, block.layer.bias)
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-5)
    wanted = torch.autograd.grad(expected.square().sum(), [x, *learned])
    for mine, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_no_restored_matrix_is_kept_for_the_way_back(kind):
    needs_library(kind)
    block, _ = adapted_block(kind, dora=False)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        block.layer(torch.randn(7, INPUTS, requires_grad=True, dtype=torch.bfloat16))
    assert kept
    assert not any(t.is_floating_point() and t.numel() >= OUTPUTS * INPUTS for t in kept)


def test_only_the_adapter_learns_and_the_whole_matrix_is_gone():
    block, _ = adapted_block("int8", dora=False)
    assert block.layer.weight is None
    learning = {name for name, p in block.named_parameters() if p.requires_grad}
    assert learning == {"layer.adapter.down", "layer.adapter.up"}
    assert sorted(str(part.dtype) for part in block.layer.quantized.parameters()) == [
        "torch.float32", "torch.int8",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_compiled_in_one_graph_it_computes_the_same_and_keeps_as_little(kind):
    needs_library(kind)
    block, adapter = adapted_block(kind, dora=True)
    x = torch.randn(5, INPUTS, requires_grad=True)
    learned = [x, *adapter.parameters()]
    kept = []
    results = []
    for layer in (block.layer, torch.compile(block.layer, fullgraph=True)):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
            y = layer(x)
        results.append((y, *torch.autograd.grad(y.square().sum(), learned)))
    assert kept and not any(t.shape == (OUTPUTS, INPUTS) and t.is_floating_point() for t in kept)
    for eager, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, eager, atol=1e-4, rtol=1e-4)


def test_bitsandbytes_is_imported_without_a_look_at_the_network(tmp_path):
    """It would ask a package `kernels`, if there is one, for code from the hub."""
    needs_library("nf4")
    (tmp_path / "kernels.py").write_text("raise SystemExit('asked for a kernel')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import torch;"
        "from xunlian.models.quantized import Quantized; Quantized(torch.ones(2, 64), 'nf4');"
        "assert 'kernels' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
