"""Our shards against a slow parser of their own, and as other programs read them."""

import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from xunlian.shards.format import token_dtype
from xunlian.shards.stream import open_stream
from xunlian.shards.writer import ShardWriter

DOCUMENTS = [[[5, 6, 7, 0]], [[1, 0]], [[9, 9], [8], [3, 2, 0]], [[0]], [[4] * 30 + [0]]]
FLAT = [t for document in DOCUMENTS for sequence in document for t in sequence]


def write(
    folder: Path,
    documents: list[list[list[int]]],
    shard_tokens: int = 2**28,
    batch: int = 100,
    vocab_size: int = 100,
) -> list[dict]:
    sequences = [
        (sequence, i == 0) for document in documents for i, sequence in enumerate(document)
    ]
    with ShardWriter(folder, "train", token_dtype(vocab_size), shard_tokens) as writer:
        for first in range(0, len(sequences), batch):
            part = sequences[first : first + batch]
            writer.write(
                np.array([t for sequence, _ in part for t in sequence]),
                np.array([len(sequence) for sequence, _ in part], np.int32),
                np.array([start for _, start in part], bool),
            )
    return writer.shards


def slow_parse(base: Path) -> list[list[list[int]]]:
    """Megatron's layout, read with nothing but `struct`: documents of sequences of tokens."""
    index, data = base.with_suffix(".idx").read_bytes(), base.with_suffix(".bin").read_bytes()
    assert index[:9] == b"MMIDIDX\x00\x00"
    version, code, sequences, entries = struct.unpack_from("<QBQQ", index, 9)
    assert version == 1
    letter, size = {8: ("H", 2), 4: ("i", 4)}[code]
    at = 34
    lengths = struct.unpack_from(f"<{sequences}i", index, at)
    pointers = struct.unpack_from(f"<{sequences}q", index, at + 4 * sequences)
    starts = struct.unpack_from(f"<{entries}q", index, at + 12 * sequences)
    assert len(index) == at + 12 * sequences + 8 * entries
    assert starts[0] == 0 and starts[-1] == sequences
    assert sum(lengths) * size == len(data)
    read = [
        list(struct.unpack_from(f"<{n}{letter}", data, pointer))
        for n, pointer in zip(lengths, pointers, strict=True)
    ]
    return [read[a:b] for a, b in pairwise(starts)]


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
@pytest.mark.parametrize("vocab_size", [100, 65_499, 65_500, 200_000])
def test_a_shard_is_what_megatron_expects(tmp_path: Path, batch: int, vocab_size: int) -> None:
    (shard,) = write(tmp_path, DOCUMENTS, batch=batch, vocab_size=vocab_size)
    assert shard["name"] == "train-00000"
    assert (shard["tokens"], shard["documents"]) == (len(FLAT), len(DOCUMENTS))
    assert slow_parse(tmp_path / "train-00000") == DOCUMENTS
    assert (tmp_path / "train-00000.bin").stat().st_size == len(FLAT) * (
        2 if vocab_size < 65_500 else 4
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["train-00000.bin", "train-00000.idx"]


def test_nanogpt_reads_a_shard(tmp_path: Path) -> None:
    write(tmp_path, DOCUMENTS)
    assert np.memmap(tmp_path / "train-00000.bin", dtype=np.uint16, mode="r").tolist() == FLAT


@pytest.mark.parametrize("batch", [1, 2, 100])
@pytest.mark.parametrize("limit", [1, 4, 7, 10, 1000])
def test_a_new_shard_begins_with_a_document(tmp_path: Path, limit: int, batch: int) -> None:
    shards = write(tmp_path, DOCUMENTS, limit, batch)
    expected: list[list] = []
    for document in DOCUMENTS:  # a document opens a shard when the open one has reached the limit
        if not expected or sum(len(s) for d in expected[-1] for s in d) >= limit:
            expected.append([])
        expected[-1].append(document)
    assert [slow_parse(tmp_path / shard["name"]) for shard in shards] == expected


@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_a_stream_is_the_concatenation_of_its_shards(tmp_path: Path, limit: int) -> None:
    shards = write(tmp_path, DOCUMENTS, limit)
    stream = open_stream([tmp_path / shard["name"] for shard in shards])
    assert len(stream) == len(FLAT) and stream.document_count == len(DOCUMENTS)
    for start in range(len(FLAT) + 1):
        for stop in range(start, len(FLAT) + 1):
            read = stream.read(start, stop)
            assert read.dtype == np.int64 and read.tolist() == FLAT[start:stop]
    with pytest.raises(IndexError):
        stream.read(0, len(FLAT) + 1)
    whole = [[t for sequence in document for t in sequence] for document in DOCUMENTS]
    assert [document.tolist() for document in stream.documents()] == whole
    assert [b - a for a, b in stream.spans()] == [len(document) for document in whole]


def test_an_empty_split_is_an_empty_stream(tmp_path: Path) -> None:
    assert write(tmp_path, []) == []
    stream = open_stream([])
    assert len(stream) == 0 and stream.document_count == 0
    assert stream.read(0, 0).tolist() == [] and list(stream.documents()) == []


def test_many_documents_keep_their_borders(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 4, 70_000).astype(np.int32)
    tokens = generator.integers(1, 50, int(lengths.sum()))
    with ShardWriter(tmp_path, "train", token_dtype(100), 50_000) as writer:
        writer.write(tokens, lengths, np.ones(len(lengths), bool))
    stream = open_stream([tmp_path / shard["name"] for shard in writer.shards])
    assert len(writer.shards) == 3
    assert [b - a for a, b in stream.spans()] == lengths.tolist()
    assert (stream.read(0, len(stream)) == tokens).all()


def test_a_failure_while_writing_leaves_no_file(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="stop"),
        ShardWriter(tmp_path, "train", token_dtype(100)) as writer,
    ):
        writer.write(np.array([1, 0]), np.array([2], np.int32), np.array([True]))
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []
