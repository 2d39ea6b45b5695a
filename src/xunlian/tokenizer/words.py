"""Where words begin: the pattern `WORDS` for many texts at once, in arrays.

A regular expression goes match by match. But where the matches of `WORDS` begin follows from the
kinds of a few neighbouring characters, so that some comparisons of byte arrays find them all (300
MB/s; the library's expression 5). What is a letter, a number or a space is asked of the library,
once for each character that is met, because it is its edition of Unicode that counts.
"""

import numpy as np
from tokenizers import Regex, pre_tokenizers

BETWEEN = 0
"""The kind of what stands between two texts."""
_LETTER, _NUMBER, _SPACE, _BREAK, _MARK, _UNSEEN = 1, 2, 3, 4, 5, 6
_LONG_S = 0x17F  # an 's' where case is ignored


class Kinds:
    """The kind of each character, learned when it is met."""

    def __init__(self) -> None:
        self._table = np.full(0x110000, _UNSEEN, np.uint8)

    def of(self, codes: np.ndarray) -> np.ndarray:
        """(C,) uint8, for (C,) code points."""
        kinds = self._table[codes]
        unseen = kinds == _UNSEEN
        if unseen.any():
            self._learn(np.unique(codes[unseen]))
            kinds = self._table[codes]
        return kinds

    def _learn(self, codes: np.ndarray) -> None:
        text = codes.astype("<u4").tobytes().decode("utf-32-le")
        self._table[codes] = _MARK
        for pattern, kind in ((r"\p{L}", _LETTER), (r"\p{N}", _NUMBER), (r"\s", _SPACE)):
            found = np.ones(len(codes), bool)
            for _, (first, last) in pre_tokenizers.Split(
                Regex(pattern), "removed"
            ).pre_tokenize_str(text):
                found[first:last] = False
            self._table[codes[found]] = kind
        self._table[[ord("\r"), ord("\n")]] = _BREAK


def word_starts(codes: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Whether a match of `WORDS` begins at a character, (C,) bool.

    Args:
        codes: (C,) code points of the texts, with a character before, between and behind them.
        kinds: (C,) what `Kinds.of` says, but BETWEEN for those characters.
    """
    letter, space, line_break, mark = (kinds == kind for kind in (_LETTER, _SPACE, _BREAK, _MARK))
    white = space | line_break
    starts = np.ones(len(codes), bool)
    here, before = starts[1:], slice(None, -1)
    # ' ?[^\s\p{L}\p{N}]+[\r\n]*': marks, the blank before them, line breaks behind them.
    here &= ~(mark[1:] & (mark | (codes == ord(" ")))[before])
    # '\s*[\r\n]+': all white space up to its last line break.
    here &= ~(line_break[1:] & (white | mark)[before])
    # '[^\r\n\p{L}\p{N}]?\p{L}+': letters, and before them any space, or a mark that stands alone.
    here &= ~(letter[1:] & (letter | space | (mark & starts))[before])
    # '\s+(?!\S)': spaces but for the last, which goes its own way unless the text ends.
    last = ~white[1:] & (kinds[1:] != BETWEEN)
    starts[1:-1] &= ~(space[1:-1] & space[:-2]) | last[1:]
    _after_breaks(starts, line_break, white, mark)
    _contractions(starts, codes, letter)
    return starts


def _after_breaks(
    starts: np.ndarray, line_break: np.ndarray, white: np.ndarray, mark: np.ndarray
) -> None:
    """A space behind a line break begins a word only if no line break follows in the same white
    space, or if a mark took that line break."""
    places = np.flatnonzero(line_break[:-2] & white[1:-1] & ~line_break[1:-1] & white[2:]) + 1
    if not len(places):
        return
    visible, breaks = np.flatnonzero(~white), np.flatnonzero(line_break)
    ends = visible[np.searchsorted(visible, places)]
    more = breaks[np.searchsorted(breaks, ends) - 1] > places
    others = np.flatnonzero(~line_break)
    taken = mark[others[np.searchsorted(others, places) - 1]]
    starts[places] = taken | ~more


def _contractions(starts: np.ndarray, codes: np.ndarray, letter: np.ndarray) -> None:
    """'(?i:'s|'t|'re|'ve|'m|'ll|'d)' ends even where more letters follow."""
    quotes = np.flatnonzero((codes[:-1] == ord("'")) & starts[:-1] & letter[1:])
    first, second = codes[quotes + 1].astype(np.int64), codes[quotes + 2].astype(np.int64)
    short = np.isin(first | 32, [*b"stmd"]) | (first == _LONG_S)
    long = np.isin(
        (first | 32) << 32 | second | 32, [a << 32 | b for a, b in (b"re", b"ve", b"ll")]
    )
    ends = np.concatenate((quotes[short] + 2, quotes[long] + 3))
    starts[ends[letter[ends]]] = True
