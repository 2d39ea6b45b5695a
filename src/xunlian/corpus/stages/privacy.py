"""Personal data and secrets, found and replaced by typed placeholders such as <EMAIL>.

- The batch is searched as one string of bytes (`privacy_view.py`) for what every kind must have:
  an '@', many digits close together, a long word. Only there do the exact patterns look.
- What has a check digit, a date or a known prefix must pass it: payment cards by Luhn, Chinese
  identity numbers by GB 11643-1999, telephone numbers by their numbering plan.
- What is found is counted, and never logged: `shape` tells a find's form without telling the find.

Rules and checksums, not a model: names and addresses of people stay.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from xunlian.corpus.stages.privacy_cards import find_cards
from xunlian.corpus.stages.privacy_ids import find_national_ids
from xunlian.corpus.stages.privacy_network import find_credentials, find_emails, find_ips
from xunlian.corpus.stages.privacy_phones import find_phones
from xunlian.corpus.stages.privacy_plates import find_plates
from xunlian.corpus.stages.privacy_secrets import find_keys
from xunlian.corpus.stages.privacy_view import View, view
from xunlian.recipe.corpus_privacy import KINDS, Kind

_FINDERS: dict[Kind, Callable[[View], Iterator[tuple[int, int]]]] = {
    # Where two overlap, the earlier one in this list holds.
    "key": find_keys,
    "credentials": find_credentials,
    "email": find_emails,
    "ip": find_ips,
    "national_id": find_national_ids,
    "card": find_cards,
    "phone": find_phones,
    "plate": find_plates,
}


class Find(NamedTuple):
    """Where something is: the index of its text, first character, the one after its last, kind."""

    text: int
    start: int
    end: int
    kind: Kind


def find(texts: Sequence[str], kinds: Sequence[Kind] = KINDS) -> list[Find]:
    """All that is found in the texts, in order and without overlaps."""
    joined = view(texts)
    spans: list[tuple[int, int, int, Kind]] = []
    for rank, (kind, finder) in enumerate(_FINDERS.items()):
        if kind in kinds:
            spans += ((start, rank, end, kind) for start, end in finder(joined))
    spans.sort()
    kept: list[tuple[int, int, int, Kind]] = []
    for span in spans:
        while kept and kept[-1][2] > span[0] and kept[-1][1] > span[1]:
            kept.pop()  # it overlaps something that goes before it
        if not kept or kept[-1][2] <= span[0]:
            kept.append(span)
    owners = np.searchsorted(joined.starts, [span[0] for span in kept], "right") - 1
    starts = joined.starts[owners] if kept else owners
    return [
        Find(owner, start - first, end - first, kind)
        for (start, _, end, kind), owner, first in zip(
            kept, owners.tolist(), starts.tolist(), strict=True
        )
    ]


def mask(
    texts: Sequence[str], kinds: Sequence[Kind] = KINDS, placeholder: str = "<{kind}>"
) -> tuple[list[str], Counter[str]]:
    """The texts with what was found replaced, and how many of each kind there were."""
    masked = list(texts)
    counts: Counter[str] = Counter()
    signs = {kind: placeholder.replace("{kind}", kind.upper()) for kind in KINDS}
    parts: list[str] = []
    at = 0
    finds = find(texts, kinds)
    for index, one in enumerate(finds):
        counts[one.kind] += 1
        text = texts[one.text]
        parts += (text[at : one.start], signs[one.kind])
        at = one.end
        if index + 1 == len(finds) or finds[index + 1].text != one.text:
            masked[one.text] = "".join([*parts, text[at:]])
            parts, at = [], 0
    return masked, counts


_LETTER = re.compile(r"[^\W\d_]")


def shape(text: str) -> str:
    """The form of a find, for reports: 'ann@x.org' -> 'aaa@a.aaa', '+1 555' -> '+0 000'."""
    return _LETTER.sub("a", re.sub(r"\d", "0", text))
