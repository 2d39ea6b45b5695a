"""A server's answer as a web archive keeps it: status, headers, and the content unpacked."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

from xunlian.corpus.reading.trouble import Limits
from xunlian.corpus.reading.unpack import unpack, whole
from xunlian.errors import InputError


@dataclass(frozen=True)
class Response:
    """Attributes:
    headers: names in lower case.
    body: as it was sent.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    def content(self, limits: Limits) -> bytes:
        """The body without its transfer and content encodings.

        An encoding that the body does not have is not removed: many crawlers unpack what they
        keep, and leave the header as it was.

        Raises:
            InputError: damaged, too large, or in an encoding that is not known.
        """
        body = self.body
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            body = _joined(body)
        for encoding in reversed(self.headers.get("content-encoding", "").lower().split(",")):
            if unpacked := _UNPACK.get(encoding.strip()):
                body = unpacked(body, limits)
            elif encoding.strip() not in ("", "identity", "none", "utf-8"):
                raise InputError(f"its content is packed with '{encoding.strip()}'")
        if len(body) > limits.page:
            raise InputError(f"{len(body):,} bytes are too many for one page")
        return body


def parse_response(data: bytes, limits: Limits) -> Response:
    """The parts of an answer. One without a status line counts as all content."""
    if not data.startswith(b"HTTP/"):
        return Response(200, {"content-type": "text/html"}, data)
    ends = [(at, at + len(end)) for end in (b"\r\n\r\n", b"\n\n") if (at := data.find(end)) >= 0]
    head, body = min(ends, default=(len(data), len(data)))
    lines = data[:head].decode("utf-8", "replace").split("\n")
    status = lines[0].split(maxsplit=2)[1:2]
    headers: dict[str, str] = {}
    for line in lines[1:]:
        key, _, value = line.partition(":")
        headers.setdefault(key.strip().lower(), value.strip())
    number = status[0] if status else ""
    known = number.isascii() and number.isdecimal() and len(number) == 3
    return Response(int(number) if known else 0, headers, data[body:])


def _joined(body: bytes) -> bytes:
    """The chunks without their sizes (RFC 9112, 7.1); a body that has none as it is."""
    chunks: list[bytes] = []
    at = 0
    while at < len(body):
        end = body.find(b"\n", at, at + 1000)
        size = body[at:end].split(b";")[0].strip() if end >= 0 else b""
        try:
            count = int(size, 16) if size.isalnum() else -1
        except ValueError:
            count = -1
        if count < 0:
            return b"".join(chunks) if chunks else body
        if count == 0:
            break
        chunks.append(body[end + 1 : end + 1 + count])
        at = end + 1 + count
        while body[at : at + 1] in (b"\r", b"\n"):
            at += 1
    return b"".join(chunks)


def _gunzip(body: bytes, limits: Limits) -> bytes:
    return _unpacked(body, "gz", limits) if body.startswith(b"\x1f\x8b") else body


def _unzstd(body: bytes, limits: Limits) -> bytes:
    return _unpacked(body, "zst", limits) if body.startswith(b"\x28\xb5\x2f\xfd") else body


def _unpacked(body: bytes, compression: str, limits: Limits) -> bytes:
    try:
        return whole(unpack(iter([body]), compression, "", limits), "", limits.page)
    except InputError as error:
        raise InputError(
            f"its content does not unpack to a page of {limits.page:,} bytes at most"
        ) from error


def _inflate(body: bytes, limits: Limits) -> bytes:
    """'deflate' ought to be zlib, but some servers send it bare."""
    for bits in (15, -15):
        try:
            content = zlib.decompressobj(bits).decompress(body, limits.page + 1)
        except zlib.error:
            continue
        if content:
            return content
    return body


_UNPACK: dict[str, Callable[[bytes, Limits], bytes]] = {
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "zstd": _unzstd,
    "deflate": _inflate,
}
