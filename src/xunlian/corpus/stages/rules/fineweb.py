"""FineWeb's own rules, on lines (arXiv 2406.17557, section 3.6)."""

import numpy as np
from numpy.typing import NDArray

from xunlian.corpus.stages.rules.limits import Limits
from xunlian.corpus.stages.rules.repetition import duplicates
from xunlian.corpus.stages.rules.table import Spans, Table


def fineweb(
    table: Table, limits: Limits, kept: NDArray[np.bool_] | None
) -> dict[str, NDArray[np.bool_]]:
    """For each rule, in the order in which they are asked, the documents (D,) that break it.

    Args:
        kept: (L,) the lines that are left of the table's; by default all. Lines count without the
            white space around them.
    """
    lines = table.lines
    bounds = table.chunk_bounds_of_lines
    left = np.diff(bounds) > 0
    breaks = np.maximum(lines.counts - 1, 0)
    if kept is not None:
        left = left & kept
        breaks = np.maximum(lines.total(left.astype(np.int64)) - 1, 0)
    chosen = lines.select(left)
    firsts, lasts = bounds[:-1][left], bounds[1:][left] - 1
    stripped = Spans(table.chunks.starts[firsts], table.chunks.ends[lasts], chosen.bounds)
    total = np.maximum(stripped.counts, 1)
    ended = np.isin(table.codes[stripped.ends - 1], [ord(mark) for mark in limits.line_marks])
    short = stripped.lengths <= limits.short_line
    if limits.count_signs:
        short &= ~ended
    _, repeated = duplicates(table, stripped)
    characters = stripped.total(stripped.lengths)
    in_line = np.diff(table.word_bounds_of_lines)
    words = lines.total(in_line * left)
    return {
        "empty": stripped.counts == 0,
        "unpunctuated_lines": stripped.total(ended) / total < limits.punctuated_lines,
        "short_lines": stripped.total(short) / total > limits.short_lines,
        "repeated_line_characters": repeated / np.maximum(characters, 1)
        > limits.repeated_line_characters,
        "line_breaks": breaks / np.maximum(words, 1) > limits.line_breaks_a_word,
    }
