"""How much memory a training takes, part by part: predicted before, measured after.

Shapes: M positions of a micro-batch, D width, F feed-forward width, H heads, G key/value heads,
K width of a head, V vocabulary, T context, N parameters.
"""

import contextlib
import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from xunlian.errors import XunlianError
from xunlian.machine.features import reset_peak_memory, resident_memory
from xunlian.machine.recurrent_memory import (
    kept_of_recurrent,
    passing_of_recurrent,
    recurrent_weights,
)
from xunlian.recipe.adapter import Adapter
from xunlian.recipe.recurrent_size import RecurrentShape
from xunlian.recipe.settings import Model
from xunlian.recipe.size import Shape, count_parameters, matmul_parameters, value_tables

QUERY_BLOCK = 128  # as in models/attention.py
# Of a weight in few bits, with its share of the scales, as in models/quantized.py.
FROZEN_BYTES = {"nf4": 0.5 + 1 / 64 + 4 / (64 * 256), "int8": 1.0}
# What the C library and the kernels' scratch space take beside the tensors.
WORKSPACE = 32 << 20
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of <malloc.h>


@contextlib.contextmanager
def gpu_memory_errors() -> Iterator[None]:
    """Raises XunlianError, in one line, where a GPU's memory is full."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise XunlianError(
            "The GPU's memory is full. End other programs on it, or set a smaller "
            "training.micro_batch_tokens or model.size. What was saved stays good."
        ) from error


@dataclass(frozen=True)
class MicroBatch:
    """Rows of one forward pass, and the places of a row on each side; a text has targets only."""

    rows: int
    target: int
    source: int = 0


def predict_training_memory(
    model: Model,
    shape: Shape | RecurrentShape,
    vocab_size: int,
    *,
    batch: MicroBatch,
    precision: str,
    optimizer: str,
    attention: str,
    compiled: bool,
    chunk_logits: int,
    adapter: Adapter | None = None,
) -> dict[str, int]:
    """Bytes by part, at the peak of a training step. Keys are the parts' names."""
    depth, width, context = shape.depth, shape.width, model.context
    parameters = count_parameters(model, shape, vocab_size)
    embeddings = vocab_size * width * (1 if shape.tied else 2)
    matrices = parameters - embeddings if optimizer == "muon" else 0
    gpt2, speedrun = model.architecture == "gpt2", model.architecture == "speedrun"
    real = 4 if precision == "fp32" else 2
    micro_tokens = batch.rows * batch.target
    if isinstance(shape, RecurrentShape):
        places = batch.rows * max(batch.source, batch.target)
        return _parts(
            parameters,
            matrices,
            kept_of_recurrent(model, shape, batch.rows, batch.source, batch.target, real),
            recurrent_weights(model, shape, real),
            # The loss is done with before the layers are gone back through.
            max(
                _loss_bytes(chunk_logits, micro_tokens, vocab_size, width, real, compiled),
                passing_of_recurrent(model, shape, places, real),
            ),
        )
    inner = shape.heads * shape.head_width
    values = shape.kv_heads * shape.head_width
    if speedrun:  # value embeddings have the states of AdamW
        embeddings += value_tables(shape) * vocab_size * values
        matrices = parameters - embeddings if optimizer == "muon" else 0
    joined = inner + 2 * shape.kv_heads * shape.head_width
    # Saved for the backward pass, values per position of one block, in the compute type: two
    # residual sums, two normed inputs, the mixed heads, queries, keys and values as they come,
    # normed and turned, and the feed-forward part's hidden values.
    hidden = (2 if gpt2 else 3) * shape.mlp_width
    saved = 4 * width + inner + joined + 2 * inner + hidden
    if speedrun:  # the stream before it is mixed; found in a table in fp32, and through the gate
        saved += width + 3 * values // 2
    # Uncompiled norms and turns keep their fp32 steps as well.
    wide = 0 if compiled else 4 * (2 * width if gpt2 else 6 * width + 9 * inner)
    passing = 0 if gpt2 else 4 * 4 * inner  # the backward pass of turns
    if attention == "matmul":
        block = min(context, QUERY_BLOCK)
        weights = shape.heads * (context + block) // 2
        # Keys and values again for every block of queries, scores and weights.
        saved += inner * (1 + context // block) + 2 * weights
        wide += 0 if compiled else weights * 4
        passing += 4 * shape.heads * context
    activations = micro_tokens * (depth * (saved * real + wide) + passing)
    joined_weights = depth * width * (joined + hidden * 2 // 3) * 4
    if shape.decoder_depth is not None:
        activations = _kept_of_pairs(shape, batch, real, compiled, bool(model.dropout))
        joined_weights = (depth + 2 * shape.decoder_depth) * width * (joined + hidden // 2) * 4
    cast_weights = (parameters - embeddings) * 2 if precision != "fp32" else 0
    loss = _loss_bytes(chunk_logits, micro_tokens, vocab_size, width, real, compiled)
    if adapter:
        # The head has no gradient; DoRA keeps every product before its rows are scaled.
        loss -= 4 * vocab_size * width
        outputs = joined + hidden + 2 * width if adapter.kind == "dora" else 0
        blocks = depth + 2 * (shape.decoder_depth or 0)
        kept = activations + micro_tokens * blocks * outputs * real
        learning = _adapter_parameters(shape, adapter.rank, gpt2)
        learning_matrices = learning if optimizer == "muon" else 0
        frozen, cast = parameters * real, learning * (4 + real)
        if adapter.frozen:
            matrices = matmul_parameters(model, shape, vocab_size) - vocab_size * width
            frozen += round(matrices * (FROZEN_BYTES[adapter.frozen] - real))
            cast += width * max(shape.mlp_width, inner) * real  # the one that is restored
        parts = _parts(learning, learning_matrices, kept, cast, loss)
        return {**parts, "weights": parts["weights"] + frozen}
    return _parts(parameters, matrices, activations, cast_weights + joined_weights, loss)


def mask_bytes(batch: MicroBatch, precision: str) -> int:
    """Of who sees whom among the texts of a row (conversations, preferences): what does not, as
    booleans, and a mask that is added."""
    real = 4 if precision == "fp32" else 2
    return batch.rows * batch.target**2 * (real + 2)


def _parts(
    parameters: int, matrices: int, activations: int, cast_weights: int, loss: int
) -> dict[str, int]:
    """`matrices` are the parameters that Muon has."""
    return {
        "weights": 4 * parameters,
        "gradients": 4 * parameters,
        "optimizer state": 4 * matrices + 8 * (parameters - matrices),
        "activations": activations,
        "cast weights": cast_weights,
        "loss chunk": loss,
        "workspace": WORKSPACE,
    }


def _adapter_parameters(shape: Shape, rank: int, gpt2: bool) -> int:
    """Of adapters in all matrices of the blocks, which is the most there may be."""
    width, inner = shape.width, shape.heads * shape.head_width
    attention = 2 * (width + inner) + 2 * (width + shape.kv_heads * shape.head_width)
    mlp = (width + shape.mlp_width) * (2 if gpt2 or shape.decoder_depth else 3)
    cross = attention if shape.decoder_depth else 0
    return rank * (
        shape.depth * (attention + mlp) + (shape.decoder_depth or 0) * (attention + cross + mlp)
    )


def _loss_bytes(
    chunk_logits: int, micro_tokens: int, vocab_size: int, width: int, real: int, compiled: bool
) -> int:
    chunk = min(chunk_logits, micro_tokens * vocab_size)
    # Uncompiled: four steps in fp32, and one of booleans.
    loss = chunk * (4 + 4 + real if compiled else 17) + micro_tokens * width * real * 2
    return loss + 4 * vocab_size * width


def _kept_of_pairs(
    shape: Shape, batch: MicroBatch, real: int, compiled: bool, dropout: bool
) -> int:
    """Bytes that an encoder-decoder keeps of a batch, and those of going back through a layer."""
    width, heads, depth = shape.width, shape.heads, shape.decoder_depth or 0
    source, target = batch.rows * batch.source, batch.rows * batch.target
    # What a part adds to the residual sum, dropped; uncompiled norms keep it in fp32, too.
    added = 2 * width * real + (width if dropout else 0) + (0 if compiled else 4 * width)

    def attention(queries: int, keys: int, length: int) -> int:
        """`length` keys for each query; queries and mixed heads, keys and values."""
        values = queries * 3 * width + keys * 2 * width
        return queries * added + values * real + queries * heads * length * real

    mlp = added + shape.mlp_width * real
    encoder = attention(source, source, batch.source) + source * mlp
    decoder = attention(target, target, batch.target) + attention(target, source, batch.source)
    decoder += target * mlp
    longest = max(batch.source, batch.target)
    # Going back through one layer: scores and their gradients in fp32, hidden values.
    passing = batch.rows * longest * (12 * heads * longest + 4 * shape.mlp_width)
    return shape.depth * encoder + depth * decoder + passing


def keep_freed_memory() -> None:
    """Let the C library keep what tensors free, for the next step to use again.

    By default glibc gives large blocks back to the system at once, and every step pays for the
    page faults of getting them anew: 10 to 20% of a training step on a CPU. Elsewhere: no effect.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, -1)


@dataclass
class PeakMemory:
    """Measures the peak of training above what the process holds without it."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    base: int | None = None
    peak: int | None = None

    def start(self, live_bytes: int) -> None:
        """Begin, between two steps, when `live_bytes` of weights and state are alive."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self.base = 0
            return
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)  # what was freed shall not count
        if reset_peak_memory():
            self.base = resident_memory()[0] - live_bytes

    def stop(self) -> None:
        if self.base is None:
            return
        if self.device.type == "cuda":
            self.peak = torch.cuda.max_memory_allocated(self.device)
        else:
            self.peak = resident_memory()[1] - self.base
