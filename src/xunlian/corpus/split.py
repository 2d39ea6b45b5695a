"""Which text is held out for validation.

Two ways, both pure functions of the order of the documents:

- by document: of every 1/fraction consecutive documents one, chosen by a hash of the group's
  number, is held out. So the share is exact, and spread over the whole corpus.
- by tail, when there are too few documents for that: the end of each document, cut at a
  character. With one document this is how nanoGPT splits tiny Shakespeare.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from xunlian.errors import InputError

_FEW = 20  # documents: fewer are too few to spare a whole one


@dataclass(frozen=True)
class Holdout:
    """A fraction of the text to hold out, 0 <= fraction < 1."""

    fraction: Fraction

    @property
    def enough_documents(self) -> int:
        """With at least so many documents whole ones are held out, else the tail of each."""
        if self.fraction == 0:
            return 0
        return max(_FEW, ceil(1 / self.fraction))

    def is_held_out(self, ordinal: int) -> bool:
        """Whether the document with this number (from 0) is held out, when it is by document."""
        if self.fraction > Fraction(1, 2):
            return not Holdout(1 - self.fraction).is_held_out(ordinal)
        if self.fraction == 0:
            return False
        group = ordinal * self.fraction.numerator // self.fraction.denominator
        begin, end = ceil(group / self.fraction), ceil((group + 1) / self.fraction)
        digest = hashlib.blake2b(group.to_bytes(8, "little"), digest_size=8).digest()
        return ordinal == begin + int.from_bytes(digest, "little") % (end - begin)

    def kept_characters(self, characters: int) -> int:
        """How many of a document's characters stay for training, when it is by tail."""
        return int(characters * (1 - float(self.fraction)))


def parse_holdout(vals: Sequence[str]) -> Holdout | None:
    """['0.1'] -> a tenth; None when there is no number, and so files are named.

    Raises:
        InputError: a number outside of 0 to 1, or beside files.
    """
    val = next((val for val in vals if _is_number(val)), None)
    if val is None:
        return None
    if len(vals) > 1:
        raise InputError(f"corpus.val = {', '.join(vals)}: name files, or one fraction.")
    number = float(val)
    if not 0 <= number < 1:
        raise InputError(
            f"corpus.val = {val}: the fraction held out is from 0 to below 1, such as 0.05."
        )
    return Holdout(Fraction(val.strip()).limit_denominator(10**9))


def _is_number(val: str) -> bool:
    try:
        float(val)
    except ValueError:
        return False
    return True
