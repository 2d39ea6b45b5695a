"""Independent batches on the cores of a CPU: a thread with one core each.

The tensors of a decoding step are small: two cores on one batch are hardly faster than one, while
two batches at a time are twice as fast. PyTorch lets go of Python's lock while it computes.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Batch = TypeVar("Batch")
Result = TypeVar("Result")


def share_of_core(items: int, device: torch.device) -> int:
    """How many of `items` a batch may hold so that each core has one."""
    return -(-items // torch.get_num_threads()) if device.type == "cpu" else items


def map_batches(
    work: Callable[[Batch], Result], batches: Sequence[Batch], device: torch.device
) -> Iterator[Result]:
    """`work` of each batch, in order, on as many cores as PyTorch may use."""
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1 or len(batches) <= 1:
        yield from map(work, batches)
        return
    pool = ThreadPoolExecutor(
        min(threads, len(batches)), initializer=torch.set_num_threads, initargs=(1,)
    )
    try:
        yield from pool.map(work, batches)
    finally:
        pool.shutdown(cancel_futures=True)
        # The setting of a thread is also that of every thread to come.
        torch.set_num_threads(threads)
