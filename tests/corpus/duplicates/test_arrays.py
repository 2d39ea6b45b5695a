from pathlib import Path

import numpy as np
import pytest

from xunlian.corpus.duplicates.arrays import open_arrays, write_arrays, writing
from xunlian.corpus.duplicates.runs import Maps
from xunlian.errors import InputError

STATUS = Path("/proc/self/status")


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(7, dtype=np.uint64),
        "none": np.zeros((0, 3), np.float32),
        "b": np.arange(6, dtype=np.uint8).reshape(2, 3),
    }
    write_arrays(tmp_path / "x.bin", arrays)
    found = open_arrays(tmp_path / "x.bin")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


def test_an_array_can_be_written_piece_by_piece(tmp_path: Path) -> None:
    with writing(tmp_path / "x.bin") as writer:
        for piece in ([1, 2], [], [3]):
            writer.add("a", np.array(piece, np.int64))
        writer.add("b", np.array([4]))
    found = open_arrays(tmp_path / "x.bin")
    assert found["a"].tolist() == [1, 2, 3] and found["b"].tolist() == [4]


def test_a_file_that_is_not_finished_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), writing(tmp_path / "x.bin") as writer:
        writer.add("a", np.arange(3))
        raise RuntimeError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [None, b"", b"short", b"\0" * 100, b"\xff" * 100])
def test_a_missing_or_damaged_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "x.bin").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.bin' is missing or damaged"):
        open_arrays(tmp_path / "x.bin")


@pytest.mark.skipif(
    not STATUS.exists() or "RssFile:" not in STATUS.read_text(),
    reason="the system does not tell how much memory holds files",
)
def test_what_was_read_of_a_file_can_leave_memory(tmp_path: Path) -> None:
    path, values = tmp_path / "large.bin", np.arange(4 << 20)  # 32 MiB
    write_arrays(path, {"values": values})
    maps = Maps()
    array = maps(path)["values"]
    before = _of_files()
    assert array.sum() == values.sum()
    assert _of_files() > before + (30 << 20)
    maps.let_go(path)
    assert _of_files() < before + (2 << 20)
    assert np.array_equal(array, values)


def _of_files() -> int:
    """Bytes of files in this process's memory; those of a tmpfs are counted as shared."""
    words = STATUS.read_text().split()
    return sum(int(words[words.index(kind) + 1]) << 10 for kind in ("RssFile:", "RssShmem:"))
