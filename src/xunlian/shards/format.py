"""Megatron's indexed data set, the one layout of our token files.

`NAME.bin` is nothing but token ids, one after the other (so nanoGPT, OLMo-core and datatrove can
read it too). `NAME.idx` says where sequences and documents are, little-endian:

    9 bytes   "MMIDIDX\\0\\0"
    u64       version, 1
    u8        type of a token: 8 = uint16, 4 = int32 (there is no uint32); 1 = uint8, of a mask
    u64       S, number of sequences
    u64       D, number of documents + 1
    i32 [S]   tokens of each sequence
    i64 [S]   byte in NAME.bin at which each sequence begins
    i64 [D]   sequence at which each document begins, and S

A long document may stand as several sequences.
(https://github.com/NVIDIA/Megatron-LM, megatron/core/datasets/indexed_dataset.py)
"""

import struct
from typing import IO, Any

import numpy as np

MAGIC = b"MMIDIDX\x00\x00"
HEADER = struct.Struct("<9sQBQQ")
_CODES: dict[int, np.dtype[Any]] = {
    8: np.dtype("<u2"),
    4: np.dtype("<i4"),
    1: np.dtype("u1"),
}


def token_dtype(vocab_size: int) -> np.dtype:
    """uint16 where the ids fit (Megatron's limit is 65,500), else int32."""
    return _CODES[8] if vocab_size < 65_500 else _CODES[4]


def pack_header(dtype: np.dtype, sequences: int, documents: int) -> bytes:
    code = next(code for code, known in _CODES.items() if known == dtype)
    return HEADER.pack(MAGIC, 1, code, sequences, documents + 1)


def read_header(file: IO[bytes]) -> tuple[np.dtype, int, int]:
    """(type of a token, sequences, documents). Raises ValueError when it is no such index."""
    head = file.read(HEADER.size)
    if len(head) < HEADER.size:
        raise ValueError("it is cut short")
    magic, version, code, sequences, documents = HEADER.unpack(head)
    if magic != MAGIC or version != 1 or code not in _CODES or documents < 1:
        raise ValueError("it is no Megatron index")
    return _CODES[code], sequences, documents - 1


def index_size(sequences: int, documents: int) -> int:
    """Bytes of an index file."""
    return HEADER.size + 12 * sequences + 8 * (documents + 1)
