"""Compressed files: all streams of them, none cut short, none that swells without bound."""

import bz2
import gzip
import lzma
import os
import random
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard
from made_reading import read

from xunlian.corpus.reading import unpack
from xunlian.corpus.reading.sources import find_sources
from xunlian.corpus.reading.trouble import Limits
from xunlian.corpus.reading.unpack import read_bytes
from xunlian.errors import InputError

PACK = {
    "gz": gzip.compress,
    "zst": zstandard.compress,
    "bz2": bz2.compress,
    "xz": partial(lzma.compress, preset=0),
}
TEXT = "".join(f"line {i} 第{i * 7919 % 100_003}行\n" for i in range(40_000))


@pytest.mark.parametrize("packed", PACK)
def test_all_streams_of_a_file_are_unpacked_in_bounded_blocks(packed: str, tmp_path: Path) -> None:
    data = TEXT.encode()
    cuts = [0, 10, 10, 300_000, len(data)]
    streams = [PACK[packed](data[i:j]) for i, j in pairwise(cuts)]
    path = tmp_path / f"a.txt.{packed}"
    path.write_bytes(b"".join(streams))
    told = 0

    def advance(amount: int) -> None:
        nonlocal told
        told += amount

    blocks = list(read_bytes(find_sources([str(path)])[0], advance))
    assert b"".join(blocks) == data and max(map(len, blocks)) <= unpack.BLOCK
    assert told == path.stat().st_size


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, -1])
def test_what_comes_before_the_damage_is_kept_with_skip(
    packed: str, keep: float, tmp_path: Path
) -> None:
    path = tmp_path / f"a.txt.{packed}"
    data = PACK[packed](TEXT.encode())
    path.write_bytes(data[: keep if keep < 0 else int(len(data) * keep)])
    with pytest.raises(InputError, match=rf"a\.txt\.{packed}' is damaged"):
        read(path)
    found = read(path, on_error="skip", documents="line")
    whole = len(found.texts[:-1])  # the last one may be cut
    assert found.texts[:-1] == TEXT.split("\n")[:whole]
    assert whole > 10_000 or keep < 0.9 or packed == "bz2"  # whose blocks are of 900 KB
    assert found.counts["broken_files"] == 1
    assert [(name, place) for name, place, _ in found.aside] == [(str(path), "")]


def test_a_document_that_breaks_off_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(TEXT.encode())[:-20])
    (text,) = read(path, on_error="skip").texts
    assert len(text) > 500_000 and TEXT.startswith(text)


@pytest.mark.parametrize("packed", PACK)
def test_a_bomb_is_stopped(packed: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.jsonl.{packed}"
    path.write_bytes(PACK[packed](b'{"text": "' + b"a" * 5_000_000 + b'"}'))
    with pytest.raises(InputError, match=r"unpacks to more than 200 times its size.*zip bomb"):
        read(path, limits=Limits(free=1_000_000))
    assert read(path).texts == ["a" * 5_000_000]


def test_a_text_that_packs_well_is_no_bomb(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.xz"
    path.write_bytes(PACK["xz"]((f"{random.Random(1).random()}\n" * 100 + TEXT).encode()))
    assert read(path, limits=Limits(free=1_000)).texts


def test_a_zstd_bomb_is_unpacked_in_small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of 4 bytes stands for 128 KB; what is fed at once must not become gigabytes."""
    stream = unpack._Unzstd()
    bomb = zstandard.compress(b"\0" * 400_000_000, 1)
    assert len(bomb) < 40_000
    assert len(stream.decompress(bomb, unpack.BLOCK)) <= 300_000_000


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * 3_000_000)
    blocks = read_bytes(find_sources([str(path)])[0], lambda _: None)
    next(blocks)
    os.utime(path, (1, 1))
    with pytest.raises(InputError, match=r"a\.txt' changed while it was being read"):
        list(blocks)


def test_a_file_that_vanished_is_set_aside_with_skip(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "c.parquet", "d.zip"):
        (tmp_path / name).write_text("text")
    sources = find_sources([str(tmp_path)])
    for name in ("a.txt", "c.parquet", "d.zip"):
        (tmp_path / name).unlink()
    from made_reading import Read

    from xunlian.corpus.reading.divide import split_into_parts
    from xunlian.corpus.reading.trouble import LIMITS
    from xunlian.recipe.corpus_reading import Reading
    from xunlian.recipe.settings import Corpus

    found, settings = Read(), Corpus(on_error="skip")
    for source in sources:
        for part in split_into_parts(source, settings):
            found.part(part, settings, LIMITS, Reading())
    assert found.texts == ["text"] and found.counts["broken_files"] == 3
    assert all("No such file" in reason for *_, reason in found.aside)
