"""A whole training step as one CUDA graph, which the host launches at once.

A step of a small network is some thousand kernels that each run for microseconds; to launch them
one by one takes longer than to run them: on an H200, 13.1 ms for 4 layers of width 192 and 4,096
tokens, and 1.8 ms as a graph. (https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs/)

What varies from step to step must lie where the graph reads it: the batch is copied into tensors
that stay, and the rates are tensors of the optimizers.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from xunlian.console import warn

Loaded = tuple[Tensor, ...]

PLAIN_STEPS = 3  # before the recording: kernels are chosen and states made, the last off the stream
MOST_MEMORY = 1 / 3  # of the device: a graph keeps its activations, and larger steps gain nothing


class GraphedStep:
    """Does what `update` does with a batch, from the fourth one on as a graph.

    Batches of other shapes than the recorded one go through `update` itself, and so do all when the
    step takes much memory or cannot be recorded, which `problem` then says.

    Args:
        clean: takes away what a recording that failed left behind.
    """

    def __init__(self, update: Callable[[Loaded], Tensor], clean: Callable[[], None]):
        self.update, self.clean = update, clean
        self.problem = ""
        self._plain = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._batch: Loaded = ()
        self._result = torch.empty(0)

    def __call__(self, batch: Loaded) -> Tensor:
        """The result of `update`, on the device; it is written over by the next call."""
        if self._graph is None:
            if self._plain < PLAIN_STEPS or self.problem or not _is_small(batch[0].device):
                self._plain += 1
                return self._off_stream(batch) if self._plain == PLAIN_STEPS else self.update(batch)
            try:
                self._record(batch)
            except RuntimeError as error:
                self.clean()
                self.problem = str(error).splitlines()[0]
                warn(f"The steps are not run as a CUDA graph: {self.problem}")
                return self.update(batch)
        assert self._graph is not None
        if [tensor.shape for tensor in batch] != [tensor.shape for tensor in self._batch]:
            return self.update(batch)
        for own, tensor in zip(self._batch, batch, strict=True):
            own.copy_(tensor)
        self._graph.replay()
        return self._result

    def _off_stream(self, batch: Loaded) -> Tensor:
        """`update` in a stream of its own, as a recording will be."""
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            result = self.update(batch)
        here.wait_stream(aside)
        return result

    def _record(self, batch: Loaded) -> None:
        """Note the kernels of a step, of which none is run."""
        self._batch = tuple(tensor.clone() for tensor in batch)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._result = self.update(self._batch)
        self._graph = graph


def _is_small(device: torch.device) -> bool:
    most = torch.cuda.get_device_properties(device).total_memory * MOST_MEMORY
    return torch.cuda.max_memory_allocated(device) < most
