"""A model exported to ONNX, run by onnxruntime with its caches: the logits of a text.

Each text is read in several calls, so that a cache is empty, grows by one token, and by several.

Shapes: L length, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from xunlian.corpus.extras import need
from xunlian.interop import onnx_decoder, onnx_pairs

Logits = Callable[[Sequence[int]], np.ndarray]
"""Of all tokens of a text, (L, V)."""

_SINGLE = 3  # tokens that go through a cache one by one


def decoder_logits(folder: Path) -> Logits:
    """Of onnxruntime, which reads each text in several calls.

    Raises:
        InputError: the library `onnxruntime` is missing.
    """
    session = _session(folder / onnx_decoder.FILE)

    def logits(text: Sequence[int]) -> np.ndarray:
        caches, found = _empty_caches(session), []
        for start, ids in _pieces(text):
            stop = start + ids.shape[1]
            inputs = {
                "input_ids": ids,
                "attention_mask": np.ones((1, stop), np.int64),
                "position_ids": np.arange(start, stop)[None],
            }
            some, caches = _call(session, inputs | caches)
            found.append(some[0])
        return np.concatenate(found)

    return logits


def pair_logits(folder: Path, source: Sequence[int]) -> Logits:
    """Of onnxruntime, which reads each target in several calls.

    Raises:
        InputError: the library `onnxruntime` is missing.
    """
    encoder, decoder = (_session(folder / name) for name in onnx_pairs.FILES)
    ids = np.array([source])
    mask = np.ones_like(ids)
    _, memory = _call(encoder, {"input_ids": ids, "attention_mask": mask})

    def logits(target: Sequence[int]) -> np.ndarray:
        caches, found = _empty_caches(decoder, ".decoder."), []
        for _, ids in _pieces(target):
            inputs = {"input_ids": ids, "encoder_attention_mask": mask}
            some, caches = _call(decoder, inputs | memory | caches)
            found.append(some[0])
        return np.concatenate(found)

    return logits


def _session(file: Path) -> Any:
    runtime = need("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    return runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _empty_caches(session: Any, part: str = "") -> dict[str, np.ndarray]:
    return {
        port.name: np.zeros((1, port.shape[1], 0, port.shape[3]), np.float32)
        for port in session.get_inputs()
        if port.name.startswith("past_key_values") and part in port.name
    }


def _call(session: Any, inputs: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The logits (or the first output), and all `present` under the name they have as inputs."""
    names = [port.name for port in session.get_outputs()]
    found = dict(zip(names, session.run(None, inputs), strict=True))
    caches = {
        name.replace("present", "past_key_values"): value
        for name, value in found.items()
        if name.startswith("present")
    }
    return found[names[0]], caches


def _pieces(tokens: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Where each piece starts, and it: the first half, then single tokens, then the others."""
    half = max(1, len(tokens) // 2)
    cuts = [0, *range(half, min(half + _SINGLE, len(tokens))), len(tokens)]
    for start, stop in pairwise(cuts):
        yield start, np.array([tokens[start:stop]])
