"""Whether a page is nested so deep that reading it would take minutes.

Resiliparse's parser stands any depth, but finding the main content looks at every ancestor of
every element: 10,000 nested <div> take 22 s, 100,000 would take half an hour. Browsers stop at 512.

The depth is estimated from the tags alone, in one pass over the bytes with NumPy (0.1 ms for a
usual page): opened minus closed. Left out are elements that need no end or that end by themselves
(<br>, <p>, <li>, <td>) and the parts of drawings, told by their first three letters.
"""

import re

import numpy as np

MAX_PAGE_BYTES = 10_000_000
MAX_PRECISE_BYTES = 2_000_000
"""For Trafilatura, which is ten times slower, and more than that on huge pages."""
MAX_DEPTH = 512

_NOT_NESTED = (
    *(
        "area",
        "base",
        "br",
        "col",
        "embed",
        "hr",
        "img",
        "input",
        "link",
        "meta",
        "param",
        "source",
    ),
    *("track", "wbr"),  # these need no end
    *("p", "li", "td", "th", "tr", "dt", "dd", "option", "tbody", "tfoot", "thead", "rp", "rt"),
    *("circle", "ellipse", "rect", "line", "path", "polygon", "use", "animate", "stop"),
)
_OPAQUE = re.compile(rb"<!--|<(?:script|style)(?=[\s/>])", re.I)
_END_OF_COMMENT = re.compile(b"--!?>")
_END_OF_SCRIPT = re.compile(b"</(?:script|style)", re.I)


def is_too_deep(page: bytes) -> bool:
    """Whether the elements of a page, in UTF-8, are nested deeper than `MAX_DEPTH`."""
    if page.count(b"<") <= MAX_DEPTH or _depth(page) <= MAX_DEPTH:
        return False
    # Scripts hold pieces of HTML, often without ends that could be seen.
    return _depth(_without_scripts(page)) > MAX_DEPTH


def _without_scripts(page: bytes) -> bytes:
    """Without comments, scripts and styles; one without an end reaches to the end of the page."""
    parts = []
    position = 0
    while opening := _OPAQUE.search(page, position):
        parts.append(page[position : opening.start()])
        comment = opening[0] == b"<!--"
        # '<!-->' is a whole comment.
        start = opening.start() + 2 if comment else opening.end()
        end = (_END_OF_COMMENT if comment else _END_OF_SCRIPT).search(page, start)
        if end is None:
            return b"".join(parts)
        position = end.end()
    return b"".join([*parts, page[position:]])


def _depth(page: bytes) -> int:
    data = np.frombuffer(page + b"<//<>>", dtype=np.uint8)
    tags = np.flatnonzero(data[:-3] == ord("<"))[:-1]
    closing = data[tags + 1] == ord("/")
    names = tags + 1 + closing
    first, second, third = (data[names + i].astype(np.uint16) for i in range(3))
    nests = _NESTS[_key(first, second, third)] & (((first | 0x20) - ord("a")) < 26)
    return int(np.cumsum(np.where(closing, -1, 1) * nests).max(initial=0))


def _key(first: np.ndarray, second: np.ndarray, third: np.ndarray) -> np.ndarray:
    """Index of the first three letters of a name, upper or lower case: five bits of each."""
    return (first & 31) << 10 | (second & 31) << 5 | (third & 31)


def _make_table() -> np.ndarray:
    """Whether names with these first three letters nest, by `_key`."""
    table = np.ones(1 << 15, dtype=bool)
    after = np.frombuffer(b" >/\n\r\t\f", dtype=np.uint8).astype(np.int64)
    anything = np.arange(32)
    for name in _NOT_NESTED:
        letters = [np.array([ord(letter)]) for letter in name[:3]]
        ends = [after, anything][: 3 - len(letters)]
        first, second, third = np.meshgrid(*letters, *ends)
        table[_key(first, second, third).ravel()] = False
    return table


_NESTS = _make_table()
