"""A step becomes a graph after some that are launched kernel by kernel, where that is possible.

On a CPU, with a recording that calls the function again; tests/test_on_gpu.py has the real one.
"""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from xunlian.training import cuda_graph
from xunlian.training.cuda_graph import PLAIN_STEPS, GraphedStep


class Update:
    """Twice the first tensor of a batch; knows the batches it was given."""

    def __init__(self) -> None:
        self.given: list[tuple[torch.Tensor, ...]] = []

    def __call__(self, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        self.given.append(batch)
        return batch[0] * 2


@pytest.fixture
def device(monkeypatch):
    """A device whose memory is as large as said, and nearly empty."""
    state = SimpleNamespace(recordings=0, replays=0, used=10, error=None, step=None, cleaned=[])

    class Graph:
        def replay(self) -> None:
            state.replays += 1
            state.step._result = state.step._batch[0] * 2

    def record(graph: Graph):
        state.recordings += 1
        if state.error:
            raise state.error
        return nullcontext()

    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", record)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    properties = SimpleNamespace(total_memory=100)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: state.used)
    return state


def run(device, steps: int) -> tuple[Update, GraphedStep]:
    update = Update()
    step = device.step = GraphedStep(update, lambda: device.cleaned.append(len(update.given)))
    for number in range(steps):
        batch = torch.full((3,), float(number))
        assert torch.equal(step((batch,)), 2 * batch)
    return update, step


def test_after_some_steps_the_recording_is_run_with_each_batch(device):
    update, _ = run(device, PLAIN_STEPS + 4)
    assert len(update.given) == PLAIN_STEPS + 1  # the last of them recorded
    assert (device.recordings, device.replays) == (1, 4)


def test_a_batch_of_another_shape_is_not_for_the_recording(device):
    update, step = run(device, PLAIN_STEPS + 1)
    assert step((torch.ones(5),)).tolist() == [2.0] * 5
    assert (device.recordings, device.replays) == (1, 1)
    assert update.given[-1][0].shape == (5,)


def test_what_cannot_be_recorded_is_launched_kernel_by_kernel_and_that_is_said(device, capsys):
    device.error = RuntimeError("this kernel waits\nmore about it")
    update, step = run(device, PLAIN_STEPS + 3)
    assert step.problem == "this kernel waits"
    assert capsys.readouterr().err.count("not run as a CUDA graph: this kernel waits") == 1
    assert (device.recordings, device.replays) == (1, 0)
    assert device.cleaned == [PLAIN_STEPS]  # before the step is done after all
    assert len(update.given) == PLAIN_STEPS + 3


def test_a_step_that_takes_much_memory_is_not_recorded(device):
    device.used = 100 * cuda_graph.MOST_MEMORY + 1
    update, _ = run(device, PLAIN_STEPS + 3)
    assert (device.recordings, len(update.given)) == (0, PLAIN_STEPS + 3)
