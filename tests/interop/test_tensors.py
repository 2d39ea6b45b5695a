"""Files of tensors: what the library writes, and what the system refuses, with its number."""

import errno

import pytest
import torch
from safetensors import SafetensorError, safe_open

from xunlian.interop import tensors
from xunlian.interop.tensors import write_tensors


def test_the_library_reads_what_is_written(tmp_path):
    wanted = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}
    write_tensors(tmp_path / "file", wanted, {"format": "pt"})
    with safe_open(tmp_path / "file", "pt") as file:
        assert file.metadata() == {"format": "pt"} and set(file.keys()) == {"a", "b"}
        for name, tensor in wanted.items():
            found = file.get_tensor(name)
            assert found.dtype == tensor.dtype and torch.equal(found, tensor)


def test_a_folder_that_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_tensors(tmp_path / "nowhere" / "file", {"a": torch.ones(2)})


def refusing(monkeypatch, message):
    def save_file(*_, **__):
        raise SafetensorError(message)

    monkeypatch.setattr(tensors, "save_file", save_file)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES])
def test_an_error_of_the_system_has_its_number(number, tmp_path, monkeypatch):
    refusing(monkeypatch, f"Error while serializing: I/O error: refused (os error {number})")
    with pytest.raises(OSError) as caught:
        write_tensors(tmp_path / "file", {})
    assert (caught.value.errno, caught.value.filename) == (number, str(tmp_path / "file"))


def test_other_errors_of_the_library_stay_its_own(tmp_path, monkeypatch):
    refusing(monkeypatch, "Error while serializing: invalid shape")
    with pytest.raises(SafetensorError, match="invalid shape"):
        write_tensors(tmp_path / "file", {})
