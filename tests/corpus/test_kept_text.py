"""Kept text says of each document which file it is from."""

import gzip
from pathlib import Path

import orjson
from made_reading import read

from xunlian.corpus.kept_text import kept
from xunlian.corpus.pieces import Piece


def sources_of(ids: list[str], path: Path) -> list[str]:
    """What is kept, in `path`, as the source of documents with these ids."""
    with kept((({"id": one}, Piece("text", True, True)) for one in ids), path) as documents:
        assert len(list(documents)) == len(ids)
    lines = gzip.decompress(path.read_bytes()).splitlines()
    return [orjson.loads(line)["source"] for line in lines]


def test_the_source_of_every_part_of_a_file_is_the_file(tmp_path: Path) -> None:
    path = tmp_path / "C#.jsonl"
    path.write_text('{"text": "some words"}\n' * 9)
    ids = read(path, part_bytes=50).ids
    assert any(f"{path}@" in one for one in ids)
    assert sources_of(ids, tmp_path / "kept.gz") == [str(path)] * 9


def record(url: str) -> bytes:
    return (
        f"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: {url}\r\n"
        "Content-Type: text/plain\r\nContent-Length: 4\r\n\r\ntext\r\n\r\n"
    ).encode()


def test_an_address_is_no_part_of_the_source(tmp_path: Path) -> None:
    path = tmp_path / "a.warc"
    path.write_bytes(record("http://a.org/") + record("http://a.org/b#top") + record("c:d#12"))
    assert sources_of(read(path).ids, tmp_path / "kept.gz") == [str(path)] * 3
