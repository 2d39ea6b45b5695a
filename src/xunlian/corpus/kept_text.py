"""The cleaned documents as text, beside the shards, for people and for other programs."""

import gzip
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from xunlian.corpus.pieces import Piece
from xunlian.files import atomic_write

Documents = Iterator[tuple[dict[str, Any], Piece]]


# The id of a document: its file, where the part of the file begins, its number, its address.
_ID = re.compile(r"(.*?)(?:@\d+)?#\d+(?: (?:[A-Za-z][\w+.-]*:.*)?)?", re.DOTALL)


def text_path(work: Path, chunk: str) -> Path:
    return work / "text" / f"{chunk}.jsonl.gz"


def _source(identity: str) -> str:
    found = _ID.fullmatch(identity)
    return found[1] if found else identity


@contextmanager
def kept(documents: Documents, path: Path) -> Iterator[Documents]:
    """The same documents; each that passes is written to a file, a JSON object on a line.

    An object has `id`, `source`, what the stages noted, and `text`. A document of many pieces is
    written piece by piece, so that none is ever whole in memory.
    """
    with atomic_write(path) as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as out:

        def passing() -> Documents:
            for row, piece in documents:
                if piece.first:
                    source = _source(row["id"])
                    notes = {"source": source} | {
                        k: v for k, v in row.items() if v is not None and k != "kind"
                    }
                    head = orjson.dumps({"id": row["id"]} | notes)
                    out.write(head.removesuffix(b"}") + b',"text":"')
                out.write(orjson.dumps(piece.text)[1:-1])
                if piece.last:
                    out.write(b'"}\n')
                yield row, piece

        yield passing()
