"""Batches side by side: the same results in the same order, and the settings as before."""

import threading
import time

import pytest
import torch

from xunlian.decoding.parallel import map_batches, share_of_core

CPU = torch.device("cpu")


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_from_threads_with_one_core_each(two_threads):
    def work(batch):
        time.sleep(0.02 if batch % 2 == 0 else 0)
        return batch, torch.get_num_threads(), threading.current_thread()

    found = list(map_batches(work, list(range(9)), CPU))
    assert [number for number, _, _ in found] == list(range(9))
    assert {threads for _, threads, _ in found} == {1}
    assert threading.main_thread() not in {thread for _, _, thread in found}
    assert torch.get_num_threads() == 2
    later = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [2]


def test_a_single_batch_has_all_cores(two_threads):
    found = list(map_batches(lambda _: torch.get_num_threads(), ["one"], CPU))
    assert found == [2]


def test_a_batch_that_fails_is_told_and_stops_the_others(two_threads):
    started = []

    def work(batch):
        started.append(batch)
        if batch == 0:
            raise MemoryError
        time.sleep(0.05)

    with pytest.raises(MemoryError):
        list(map_batches(work, list(range(50)), CPU))
    assert len(started) < 50
    assert torch.get_num_threads() == 2


def test_no_batch_is_no_work(two_threads):
    assert list(map_batches(lambda _: 1, [], CPU)) == []


def test_a_few_items_are_shared_by_all_cores() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert [share_of_core(items, CPU) for items in (1, 2, 9)] == [1, 1, 5]
    finally:
        torch.set_num_threads(threads)
