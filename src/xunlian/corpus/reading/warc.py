"""Documents out of web archives (WARC 1.0 and 1.1): pages that a server answered with, and texts.

Of a crawl (.warc) the answers with HTML or plain text are taken, of Common Crawl's extracted texts
(.warc.wet) the conversions. The reader is our own: fastwarc 2.0.1 takes an archive that is cut off
for a finished one (its last page is short), and ends without a word behind an answer that is both
chunked and packed. It is three times as fast, but 10,000 small pages a second are enough beside
what follows (870 a second when their content is extracted).
(https://iipc.github.io/warc-specifications)
"""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from xunlian.corpus.reading.http import Response, parse_response
from xunlian.corpus.reading.pages import decode_page
from xunlian.corpus.reading.trouble import Reading
from xunlian.corpus.reading.unpack import BLOCK, as_file
from xunlian.errors import InputError

_HTML = ("text/html", "application/xhtml+xml")
_TEXT = "text/plain"
_LINE = 1 << 16  # bytes of a header line
_HEADERS = 1000  # lines


class Record(NamedTuple):
    """A page ('html') or a text ('text'), and where it came from."""

    text: str
    kind: str
    url: str


class _Broken(Exception):
    """A record that cannot be used; the next one can."""


class _Lost(Exception):
    """Where a record should begin, something else stands."""


def read_warc(blocks: Iterator[bytes], name: str, reading: Reading) -> Iterator[Record]:
    """The records that hold text. The others are counted in 'other_records', broken ones set aside.

    Args:
        blocks: unpacked.

    Raises:
        InputError: the archive ends too early, or what it holds is no WARC.
    """
    file = as_file(blocks)
    number = 0
    lost = False
    while True:
        number += 1
        try:
            headers = _headers(file, lost)
            if headers is None:
                break
            lost = False
            url = headers.get("warc-target-uri", "no address")
            found = _read(file, headers, reading)
        except EOFError as error:
            raise InputError(
                f"'{name}' is cut short in record {number:,}. Get the file again."
            ) from error
        except _Broken as error:
            reading.broken(name, f"record {number:,} ({url})", str(error), "broken_records")
            continue
        except _Lost as error:
            if number == 1:
                raise InputError(f"'{name}' is no web archive (WARC): {error}.") from error
            reading.broken(name, f"record {number:,}", str(error), "broken_records")
            lost = True
            continue
        if found:
            yield found
        else:
            reading.counts["other_records"] += 1


def _headers(file: BinaryIO, lost: bool) -> dict[str, str] | None:
    """The next record's headers, names in lower case; None at the end.

    Args:
        lost: look for the next line that can begin a record.
    """
    while True:
        line = file.readline(_LINE)
        if not line:
            return None
        if line.startswith(b"WARC/"):
            break
        if line.strip() and not lost:
            raise _Lost("no record begins where one should")
    headers: dict[str, str] = {}
    for _ in range(_HEADERS):
        line = file.readline(_LINE)
        if not line.endswith(b"\n"):
            if len(line) < _LINE:
                raise EOFError
            raise _Lost("its header is too long")
        if not line.strip():
            return headers
        key, _, value = line.decode("utf-8", "replace").partition(":")
        headers[key.strip().lower()] = value.strip()
    raise _Lost("its header is too long")


def _read(file: BinaryIO, headers: dict[str, str], reading: Reading) -> Record | None:
    """The record's text, or None when it has none; the file then stands behind the record."""
    length = headers.get("content-length", "")
    if not (length.isascii() and length.isdecimal()):
        raise _Lost("its length is not told")
    size = int(length)
    kind = headers.get("warc-type", "").lower()
    of_http = kind == "response" and headers.get("content-type", "").lower().startswith(
        "application/http"
    )
    if not of_http and not (kind in ("resource", "conversion") and _kind(headers)):
        _skip(file, size)
        return None
    limit = reading.limits.record if kind == "conversion" else reading.limits.page + _LINE
    if size > limit:
        _skip(file, size)
        raise _Broken(f"{size:,} bytes are too many for one page")
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    declared = None
    if of_http:
        response = parse_response(data, reading.limits)
        headers = response.headers | {"warc-target-uri": headers.get("warc-target-uri", "")}
        if not 200 <= response.status < 300 or not _kind(headers):
            return None
        try:
            data, declared = response.content(reading.limits), _charset(response)
        except InputError as error:
            raise _Broken(str(error)) from error
    text, wrong = decode_page(data, declared)
    content = _kind(headers)
    if of_http and "content-type" not in headers:  # a browser looks, too
        if b"\0" in data:
            return None
        content = "html" if text.lstrip().startswith("<") else "text"
    if wrong:
        reading.counts["replaced_characters"] += wrong
    return Record(text, content, headers.get("warc-target-uri", "").strip("<>"))


def _kind(headers: dict[str, str]) -> str:
    """'html', 'text', or '' for anything else."""
    content_type = headers.get("content-type", _TEXT).split(";")[0].strip().lower()
    return "html" if content_type in _HTML else "text" if content_type == _TEXT else ""


def _charset(response: Response) -> str | None:
    for item in response.headers.get("content-type", "").split(";")[1:]:
        key, _, value = item.partition("=")
        if key.strip().lower() == "charset":
            return value.strip(" \"'")
    return None


def _skip(file: BinaryIO, size: int) -> None:
    while size:
        read = len(file.read(min(size, BLOCK)))
        if not read:
            raise EOFError
        size -= read
