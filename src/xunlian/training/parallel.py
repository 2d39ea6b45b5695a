"""The group of processes that train together, decided once at the door.

`torchrun` starts the processes and sets the environment; one process alone needs none of it.
Data parallel by DDP; sharding (FSDP) will be another way to `wrap`. Gradients go by NCCL on GPUs,
by gloo on CPUs; numbers of the host always go by gloo, so that no GPU is waited for.
"""

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

from xunlian.errors import InputError
from xunlian.machine.rates import pick_device

# For a lead that prepares a corpus. When a process dies, torchrun ends the others at once.
LONGEST_WAIT = timedelta(days=7)


@dataclass(frozen=True)
class Group:
    """This process's place among those that train together."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def sum(self, *values: float) -> list[float]:
        """The sums of `values` over all processes, in double precision."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(tensor)
        return tensor.tolist()

    def sum_on_device(self, *values: Tensor) -> tuple[Tensor, ...]:
        """As `sum`, of numbers on the device, which stay there: nothing waits for them."""
        # An MPS device has no double precision.
        kind = torch.float32 if self.device.type == "mps" else torch.float64
        tensor = torch.stack([value.to(kind) for value in values])
        if self.size > 1:
            distributed.all_reduce(tensor)
        return tensor.unbind()

    def sum_tensor(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor of the host over all processes, in its own precision."""
        if self.size > 1:
            distributed.all_reduce(tensor)
        return tensor

    def from_lead(self, *values: float) -> list[float]:
        """The lead's `values`, on every process."""
        return self.sum(*(value if self.leads else 0.0 for value in values))

    def gather_share(self, tensor: Tensor, dim: int) -> Tensor:
        """`tensor` with every process's own share (see `local_rows`) of the rows along `dim`."""
        if self.size == 1:
            return tensor
        first, count = local_rows(tensor.shape[dim], self)
        own = torch.zeros_like(tensor)
        own.narrow(dim, first, count).copy_(tensor.narrow(dim, first, count))
        distributed.all_reduce(own)
        return own

    def text_from_lead(self, text: str) -> str:
        """The lead's `text`, on every process."""
        if self.size == 1:
            return text
        data = text.encode() if self.leads else b""
        length = int(self.from_lead(len(data))[0])
        buffer = torch.zeros(length, dtype=torch.uint8)
        if self.leads:
            buffer.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        distributed.broadcast(buffer, 0)
        return bytes(buffer.tolist()).decode()

    def wait(self) -> None:
        if self.size > 1:
            distributed.barrier()


def join_group() -> Group:
    """Join the processes that torchrun started, or be alone.

    Raises:
        InputError: there is no GPU for this process.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank, local = int(os.environ.get("RANK", "0")), int(os.environ.get("LOCAL_RANK", "0"))
    device = pick_device(local)
    if device.type == "cuda":
        gpus = torch.cuda.device_count()
        if local >= gpus:
            raise InputError(
                f"More processes were started here than there are GPUs. Set --nproc-per-node={gpus}"
                "."
            )
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")  # TF32, several times as fast
    if size > 1 and not distributed.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, timeout=LONGEST_WAIT)
    return Group(rank, size, device)


def leave_group(group: Group) -> None:
    if group.size > 1 and distributed.is_initialized():
        distributed.destroy_process_group()


def wrap(module: nn.Module, group: Group, some_wait: bool = False) -> nn.Module:
    """`module` with its gradients averaged over the group after each backward pass.

    `some_wait`: there are passes in which not all parameters take part.
    """
    if group.size == 1:
        return module
    from torch.nn.parallel import DistributedDataParallel

    devices = [group.device] if group.device.type == "cuda" else None
    return DistributedDataParallel(
        module,
        device_ids=devices,
        gradient_as_bucket_view=True,
        find_unused_parameters=some_wait,
    )


def local_rows(rows: int, group: Group) -> tuple[int, int]:
    """First row and number of rows of this process, out of a step's `rows`."""
    assert rows % group.size == 0
    share = rows // group.size
    return group.rank * share, share


def as_tensor(array: object, device: torch.device) -> Tensor:
    """An array on `device`. To a GPU the copy is queued from pinned memory, and nobody waits."""
    tensor = torch.as_tensor(array)
    if device.type == "cuda" and not tensor.is_cuda:
        return tensor.contiguous().pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
