"""Bytes to text: encodings are recognised, binary files refused, wrong bytes named or replaced."""

import codecs
from collections.abc import Callable, Iterator

from xunlian.corpus.reading.chinese import chinese_encoding
from xunlian.errors import InputError, did_you_mean

Replaced = Callable[[int, int], None]
"""Called with how many wrong bytes were replaced in a block, and where the first of them is."""
_COMMON_NAMES = ("utf-8", "utf-16", "gb18030", "gbk", "big5", "latin-1", "cp1252", "shift_jis")
_ASCII_ENOUGH = 1 << 24
"""After so many bytes of ASCII the rest is taken for UTF-8: a file that is read in parts must not
have to be searched to its end."""
_STRAY = 0.01
"""More wrong characters than this share of a block are no slips but another encoding."""


def decode(
    blocks: Iterator[bytes],
    name: str,
    encoding: str,
    replaced: Replaced | None = None,
    before: int = 0,
) -> Iterator[str]:
    """Text blocks of `blocks`.

    Args:
        name: of the file, for messages.
        encoding: a name that Python knows, or 'auto': UTF-8, UTF-16 with its mark, GB18030, Big5.
        replaced: if given, a few wrong bytes become U+FFFD and are told here.
        before: bytes of the file before these.

    Raises:
        InputError: binary, or not in that encoding.
    """
    if encoding == "auto":
        yield from _decode_auto(blocks, name, replaced)
        return
    known = check_encoding(encoding)
    if before and known == "utf-8-sig":
        known = "utf-8"
    errors = "replace" if replaced else "strict"
    decoder = codecs.getincrementaldecoder(known)(errors)
    wide = known.replace("_", "-").startswith(("utf-16", "utf-32"))
    held = b""  # the bytes of an unfinished character, already counted in `before`
    try:
        for block in blocks:
            if not wide and b"\0" in block:
                raise _binary(name)
            held = decoder.getstate()[0]
            if text := decoder.decode(block):
                if replaced and "\ufffd" in text:
                    _tell(text, held + block, known, name, before - len(held), replaced)
                yield text
            before += len(block)
        held = decoder.getstate()[0]
        if text := decoder.decode(b"", final=True):
            if replaced:
                replaced(1, before - len(held))
            yield text
    except UnicodeDecodeError as error:
        raise InputError(
            f"'{name}' is not all {encoding}: byte {before - len(held) + error.start:,} does not "
            "fit. Mend the file, or name its encoding with corpus.encoding=..."
        ) from error


def _tell(
    text: str, data: bytes, encoding: str, name: str, before: int, replaced: Replaced
) -> None:
    """Tell of the U+FFFD in `text` that do not stand in `data`."""
    real = data.count("\ufffd".encode()) if encoding.startswith("utf-8") else 0
    wrong = text.count("\ufffd") - real
    if wrong <= 0:
        return
    if wrong > 10 + _STRAY * len(text):
        raise InputError(
            f"'{name}' is not {encoding.removesuffix('-sig')}: {wrong:,} of {len(text):,} "
            f"characters behind byte {before:,} do not fit. Name its encoding with "
            "corpus.encoding=..."
        )
    replaced(wrong, before + _first_bad(data, encoding))


def check_encoding(encoding: str) -> str:
    """Raises InputError when Python knows no text encoding of this name."""
    try:
        info = codecs.lookup(encoding)
        "".encode(encoding)
    except LookupError as error:
        raise InputError(
            f"corpus.encoding = '{encoding}' is no encoding."
            f"{did_you_mean(encoding, _COMMON_NAMES)} Examples: {', '.join(_COMMON_NAMES)}."
        ) from error
    return "utf-8-sig" if info.name == "utf-8" else info.name


def _decode_auto(blocks: Iterator[bytes], name: str, replaced: Replaced | None) -> Iterator[str]:
    before = 0
    for block in blocks:
        encoding = recognise_at(block, before, name, replaced is not None)
        if encoding:
            yield from decode(chain(block, blocks), name, encoding, replaced, before)
            return
        yield block.decode("ascii")
        before += len(block)


def recognise(
    blocks: Iterator[bytes], name: str, lenient: bool = False, otherwise: str | None = None
) -> str:
    """The encoding that reading `blocks` takes; as many are read as that needs.

    Args, Raises: as `recognise_at`.
    """
    before = 0
    for block in blocks:
        if encoding := recognise_at(block, before, name, lenient, otherwise):
            return encoding
        before += len(block)
    return "utf-8"


def recognise_at(
    block: bytes, before: int, name: str, lenient: bool = False, otherwise: str | None = None
) -> str | None:
    """The encoding of a file by the next block of it; None while that can wait.

    Whatever comes first in a file of ASCII means the same in every encoding but UTF-16, so the
    first block that is not ASCII decides.

    Args:
        before: bytes of the file before the block, all of them ASCII.
        lenient: take a few wrong bytes for slips.
        otherwise: the encoding to take when unsure.

    Raises:
        InputError: binary, or in none of the encodings known here.
    """
    if not before and block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in block:
        raise _binary(name)
    if block.isascii():
        return "utf-8" if before >= _ASCII_ENOUGH else None
    encoding = detect(block, lenient) or otherwise
    if encoding is None:
        raise InputError(
            f"'{name}' is binary, or text that is neither UTF-8, UTF-16, GB18030 nor Big5 "
            f"(first at byte {before + _first_bad(block, 'utf-8'):,}). Convert it to UTF-8, "
            "or name its encoding with corpus.encoding=..."
        )
    return encoding


def detect(block: bytes, lenient: bool = False) -> str | None:
    """The encoding of a block with non-ASCII bytes, which may end in the middle of a character;
    None when unsure."""
    if _first_bad(block, "utf-8") == len(block):
        return "utf-8"
    if encoding := chinese_encoding(block):
        return encoding
    if lenient:
        text = block.decode("utf-8", "replace")
        wrong = text.count("\ufffd")
        # Not a text in Latin-1, of whose few letters with accents none is UTF-8.
        if 10 * wrong <= sum(c > "\x7f" for c in text) - wrong and wrong <= 10 + _STRAY * len(text):
            return "utf-8"
        return chinese_encoding(block, "replace")
    return None


def _first_bad(data: bytes, encoding: str) -> int:
    """Index of the first byte that does not fit (an unfinished last character is fine)."""
    try:
        codecs.getincrementaldecoder(encoding)("strict").decode(data)
    except UnicodeDecodeError as error:
        return error.start
    return len(data)


def chain(block: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Both, one after the other."""
    yield block
    yield from blocks


def _binary(name: str) -> InputError:
    return InputError(
        f"'{name}' is a binary file, not text. Readable are text files in UTF-8, "
        "UTF-16 (with its mark), GB18030 or Big5."
    )
