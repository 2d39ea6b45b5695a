"""Safetensors files, written from where the tensors lie: no second copy of them is in memory."""

import os
import re
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


def write_tensors(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write `path` and flush it to the disk.

    Raises:
        OSError: as `open`; the library's own error has the system's number in its text only.
    """
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:
        number = re.search(r"(?:os error|code:) (\d+)", str(error))
        if not number:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
    with open(path, "rb") as file:
        os.fsync(file.fileno())
