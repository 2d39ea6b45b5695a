"""An ONNX graph, node by node, and the layers that all our networks share.

The graphs are written from the weights, not traced from a run: every dimension that may vary is
free by construction, and nothing depends on an exporter. Operators of opset 18 only, which
onnxruntime has had since 1.14; it fuses norms and attention itself.

Shapes: B batch, L length, N length with the cache, D width, H heads, G heads of keys, K head width.
"""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xunlian.corpus.extras import need
from xunlian.models.layers import GELUMLP, MLP, LayerNorm, RMSNorm, SwiGLU

OPSET = 18
IR_VERSION = 9
"""Of the file's format: the one that came with OPSET, so that older runtimes open it."""

_LOWEST = np.finfo(np.float32).min
_INLINE = 1024  # bytes: larger tensors go into the data file

Axis = int | str
Port = tuple[str, list[Axis]]
"""The name of an input or output and its shape; a named axis may have any length."""


class Graph:
    """Nodes and weights as they are added; a tensor is its name."""

    def __init__(self) -> None:
        self._onnx = need("onnx", "onnx")
        self._nodes: list[Any] = []
        self._weights: dict[str, np.ndarray] = {}

    def op(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add an operator of one output, which is given back."""
        output = output or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, [output], **attributes))
        return output

    def split(self, x: str) -> tuple[str, str]:
        """The two halves of the last axis."""
        names = [f"half_{len(self._nodes)}_{i}" for i in range(2)]
        self._nodes.append(self._onnx.helper.make_node("Split", [x], names, axis=-1, num_outputs=2))
        return names[0], names[1]

    def constant(self, values: Any, name: str | None = None) -> str:
        """A tensor that is stored: floats in fp32, whole numbers in int64."""
        if isinstance(values, Tensor):
            values = values.detach().to("cpu", torch.float32).numpy()
        array = np.asarray(values)
        array = array.astype(np.int64 if array.dtype.kind == "i" else np.float32)
        name = name or f"constant_{len(self._weights)}"
        self._weights[name] = array
        return name

    def save(self, file: Path, inputs: list[Port], outputs: list[Port]) -> None:
        """Write `file`, and beside it `file`.data with the weights.

        Inputs whose name ends with `ids` or `mask` are int64, all else is fp32.
        """
        helper, types = self._onnx.helper, self._onnx.TensorProto

        def port(name: str, shape: list[Axis]) -> Any:
            whole = name.endswith(("ids", "mask"))
            kind = types.INT64 if whole else types.FLOAT
            return helper.make_tensor_value_info(name, kind, shape)

        graph = helper.make_graph(
            self._nodes,
            file.stem,
            [port(*each) for each in inputs],
            [port(*each) for each in outputs],
            [
                self._onnx.numpy_helper.from_array(values, name)
                for name, values in self._weights.items()
            ],
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="xunlian",
        )
        self._onnx.save_model(
            model, str(file), save_as_external_data=True, location=f"{file.name}.data",
            size_threshold=_INLINE,
        )  # fmt: skip
        # The library lets nobody but the owner read it.
        file.with_name(f"{file.name}.data").chmod(file.stat().st_mode)

    # Layers

    def linear(self, x: str, layer: nn.Linear) -> str:
        """x W' + b"""
        y = self.op("MatMul", x, self.constant(layer.weight.t()))
        return y if layer.bias is None else self.op("Add", y, self.constant(layer.bias))

    def norm(self, x: str, norm: nn.Module) -> str:
        """Over the last axis; the identity is left out."""
        if isinstance(norm, nn.Identity):
            return x
        if isinstance(norm, LayerNorm):
            gain, bias = self.constant(norm.weight), self.constant(norm.bias)
            return self.op("LayerNormalization", x, gain, bias, axis=-1, epsilon=norm.eps)
        assert isinstance(norm, RMSNorm)
        mean = self.op("ReduceMean", self.op("Mul", x, x), self.constant([-1]), keepdims=1)
        root = self.op("Sqrt", self.op("Add", mean, self.constant(norm.epsilon)))
        return self.op("Mul", self.op("Div", x, root), self.constant(norm.weight))

    def head(self, x: str, embedding: str, bias: Tensor | None = None) -> None:
        """The output `logits` of a head that is the embedding (V, D), stored once."""
        last = [x, self.op("Transpose", embedding, perm=[1, 0])]
        if bias is None:
            self.op("MatMul", *last, output="logits")
        else:
            self.op("Add", self.op("MatMul", *last), self.constant(bias), output="logits")

    def length(self, x: str, axis: int) -> str:
        """The length of an axis, a number."""
        return self.op("Gather", self.op("Shape", x), self.constant(axis))

    def span(self, start: str, stop: str) -> str:
        """The whole numbers from `start` to before `stop`."""
        return self.op("Range", start, stop, self.constant(1))

    def mlp(self, x: str, mlp: nn.Module) -> str:
        """(B, L, D) -> (B, L, D)"""
        if isinstance(mlp, SwiGLU):
            gate = self._swish(self.linear(x, mlp.gate))
            return self.linear(self.op("Mul", gate, self.linear(x, mlp.up)), mlp.output)
        if isinstance(mlp, MLP):
            bends: dict[str, Callable[[str], str]] = {
                "relu": partial(self.op, "Relu"),
                "swish": self._swish,
                "gelu": self._gelu,
            }
            return self.linear(bends[mlp.activation](self.linear(x, mlp.up)), mlp.output)
        assert isinstance(mlp, GELUMLP)
        return self.linear(self._tanh_gelu(self.linear(x, mlp.up)), mlp.output)

    def _swish(self, x: str) -> str:
        return self.op("Mul", x, self.op("Sigmoid", x))

    def _gelu(self, x: str) -> str:
        share = self.op("Erf", self.op("Mul", x, self.constant(math.sqrt(0.5))))
        return self._half_of(x, share)

    def _tanh_gelu(self, x: str) -> str:
        cube = self.op("Mul", self.op("Mul", x, x), self.op("Mul", x, self.constant(0.044715)))
        bent = self.op("Mul", self.op("Add", x, cube), self.constant(math.sqrt(2 / math.pi)))
        return self._half_of(x, self.op("Tanh", bent))

    def _half_of(self, x: str, share: str) -> str:
        """x / 2 (1 + share)"""
        share = self.op("Add", share, self.constant(1.0))
        return self.op("Mul", self.op("Mul", x, self.constant(0.5)), share)

    # Attention

    def grow(self, new: str, name: str) -> str:
        """The cache `name`, an input, with (B, G, L, K) at its end, which is an output."""
        past, present = f"past_key_values.{name}", f"present.{name}"
        return self.op("Concat", past, new, axis=2, output=present)

    def split_heads(self, x: str, heads: int, width: int) -> str:
        """(B, L, H K) -> (B, L, H, K)"""
        return self.op("Reshape", x, self.constant([0, 0, heads, width]))

    def heads_first(self, x: str) -> str:
        """(B, L, H, K) -> (B, H, L, K), and back."""
        return self.op("Transpose", x, perm=[0, 2, 1, 3])

    def mask_bias(self, mask: str, seen: str | None = None) -> str:
        """(B, 1, L or 1, N): 0 where `mask` (B, N) is 1 and `seen` (L, N) true, else the lowest."""
        allowed = self.op("Cast", mask, to=self._onnx.TensorProto.BOOL)
        allowed = self.op("Unsqueeze", allowed, self.constant([1, 2]))
        return self.bias(allowed if seen is None else self.op("And", allowed, seen))

    def bias(self, allowed: str) -> str:
        """0 where `allowed`, else the lowest number: to be added to scores."""
        return self.op("Where", allowed, self.constant(0.0), self.constant(_LOWEST))

    def past_and_future(self, start: str, stop: str) -> str:
        """(L, N): whether the tokens from `start` on may see those up to `stop`."""
        queries = self.op("Unsqueeze", self.span(start, stop), self.constant([1]))
        return self.op("LessOrEqual", self.span(self.constant(0), stop), queries)

    def attend(
        self, q: str, k: str, v: str, bias: str | None, heads: int, groups: int, width: int
    ) -> str:
        """What each query finds, (B, L, H K), of `q` (B, H, L, K), `k` and `v` (B, G, N, K)."""
        # Heads that share keys stand beside each other: (B, G, H / G, L, K) and (B, G, 1, N, K).
        shared = heads > groups
        if shared:
            q = self.op("Reshape", q, self.constant([0, groups, heads // groups, -1, width]))
            k, v = (self.op("Unsqueeze", x, self.constant([2])) for x in (k, v))
        axes = [0, 1, 2, 4, 3] if shared else [0, 1, 3, 2]
        q = self.op("Mul", q, self.constant(1 / math.sqrt(width)))
        scores = self.op("MatMul", q, self.op("Transpose", k, perm=axes))
        if bias is not None:
            if shared:
                bias = self.op("Unsqueeze", bias, self.constant([1]))
            scores = self.op("Add", scores, bias)
        mixed = self.op("MatMul", self.op("Softmax", scores, axis=-1), v)
        if shared:
            mixed = self.op("Reshape", mixed, self.constant([0, heads, -1, width]))
        return self.op("Reshape", self.heads_first(mixed), self.constant([0, 0, heads * width]))
