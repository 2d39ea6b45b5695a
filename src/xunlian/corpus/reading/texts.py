"""Documents out of plain text: a whole file, or its paragraphs or lines.

What comes out depends on the text alone, not on the blocks in which it arrives: so a file that is
read in parts gives what it gives as a whole.
"""

import re
from collections import Counter
from collections.abc import Iterator

from xunlian.corpus.pieces import PIECE, Pieces, cut, in_pieces
from xunlian.errors import InputError

_DOC = re.compile(r"\A<doc [^<>\n]{0,2000}>\n?")
_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")


def read_text(blocks: Iterator[str], documents: str) -> Pieces:
    """The documents ('file', 'paragraph', 'line' or 'wiki'), line ends being line feeds.

    Raises:
        InputError: as `blocks` does, but only when what came before is out.
    """
    until = _UntilBroken(blocks)
    match documents:
        case "file":
            yield from _file(until)
        case "line":
            yield from _lines(until)
        case "wiki":
            yield from _marked(until)
        case _:
            yield from _paragraphs(until)
    if until.error:
        raise until.error


class _UntilBroken:
    """Ends where the blocks break, and keeps the error."""

    def __init__(self, blocks: Iterator[str]) -> None:
        self._blocks = blocks
        self.error: InputError | None = None

    def __iter__(self) -> Iterator[str]:
        try:
            yield from self._blocks
        except InputError as error:
            self.error = error


def _file(blocks: _UntilBroken) -> Pieces:
    held = ""
    for block in blocks:
        held += block
        while len(held) > PIECE:
            end = cut(held)
            yield held[:end], False
            held = held[end:]
    yield held, True


def _lines(blocks: _UntilBroken) -> Pieces:
    held = ""
    begun = False  # a piece of the document in `held` is out already
    for block in blocks:
        *lines, held = (held + block).split("\n")
        for line in lines:
            if len(line) <= PIECE:
                yield line, True
            else:
                yield from in_pieces(line)
            begun = False
        while len(held) > PIECE:
            end = cut(held)
            yield held[:end], False
            held, begun = held[end:], True
    if held or begun:
        yield held, True


def _marked(blocks: _UntilBroken) -> Pieces:
    """What WikiExtractor writes: <doc id=... title=...>, lines of text, </doc>."""
    held = ""
    begun = False
    for block in blocks:
        *whole, held = (held + block).split("</doc>")
        for text in whole:
            text = text if begun else _DOC.sub("", text.lstrip("\n"))
            yield from in_pieces(text.rstrip("\n"))
            begun = False
        while len(held) > 2 * PIECE:  # so long that no marker can be cut
            end = cut(held)
            yield held[:end] if begun else _DOC.sub("", held[:end].lstrip("\n")), False
            held, begun = held[end:], True
    if held.strip() or begun:
        yield held if begun else _DOC.sub("", held.lstrip("\n")), True


def _paragraphs(blocks: _UntilBroken) -> Pieces:
    # The first character of `held` stands for the one before the text: a line feed if a line begins
    # there, so that blank lines are found also where a block, a piece or a part ended.
    held = "\n"
    begun = False
    for block in blocks:
        *whole, held = _BLANK_LINES.split(held + block)
        if whole:
            whole[0] = whole[0][1:]
            held = "\n" + held
        for text in whole:
            text = text if begun else text.lstrip("\n")
            if text or begun:
                yield from in_pieces(text)
            begun = False
        # What may yet turn out to be a blank line waits, unless it is endless.
        settled = held.rfind("\n")
        if settled <= 0 or held[settled:].strip() or len(held) - settled > 4 * PIECE:
            settled = len(held)
        while settled - 1 > PIECE:
            end = 1 + cut(held[1:settled])
            yield held[1:end] if begun else held[1:end].lstrip("\n"), False
            lead = "\n" if held[end - 1] == "\n" else "x"
            held, begun, settled = lead + held[end:], True, settled - end + 1
    rest = held[1:].rstrip("\n") if begun else held[1:].strip("\n")
    if rest or begun:
        yield from in_pieces(rest)


def line_feeds(blocks: Iterator[str], counts: Counter[str]) -> Iterator[str]:
    """All line ends as line feeds, also where a block ends between \\r and \\n."""
    held = ""
    for block in blocks:
        text = held + block
        held = "\r" if text.endswith("\r") else ""
        text = text.removesuffix("\r")
        if "\r" in text:
            counts["line_ends"] += text.count("\r")
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        yield text
    if held:
        counts["line_ends"] += 1
        yield "\n"
