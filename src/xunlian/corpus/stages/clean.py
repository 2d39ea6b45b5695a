"""The richer cleaning of texts from the web: what `recipe.corpus_clean.Clean` says, in one go.

The order matters: mojibake first, as its repair needs the control characters that are dropped
next; tags before entities; normal form before widths; lines of a site when all else is clean.
Nothing is stripped from a text's ends, so a long text may be cleaned in pieces cut at line ends.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Set
from dataclasses import dataclass

from xunlian.corpus.clean import clean as clean_lightly
from xunlian.corpus.extras import need
from xunlian.corpus.stages import characters, markup
from xunlian.corpus.stages.boilerplate import LONGEST, is_boilerplate
from xunlian.corpus.stages.mojibake import make_repair, may_be_mojibake
from xunlian.recipe.corpus_clean import Clean

Change = Callable[[str], tuple[str, int]]
Cleaner = Callable[[list[str]], tuple[list[str], Counter[str]]]


@dataclass(frozen=True)
class Step:
    """One thing that cleaning does."""

    name: str
    """Under which its changes are counted."""
    change: Change
    needs: Callable[[set[str]], bool] | None = None
    """Whether a text with these odd characters needs it; None: every text does."""
    adds: bool = False
    """Whether it can bring in characters that were not there."""


def make_cleaner(settings: Clean) -> Cleaner:
    """A function: texts -> (cleaned texts, how much of what was changed).

    Raises:
        InputError: a library that the settings need is not installed.
    """
    early, late = _steps(settings)

    def clean_all(texts: list[str]) -> tuple[list[str], Counter[str]]:
        changes: Counter[str] = Counter()
        return [clean(text, changes) for text in texts], changes

    def clean(text: str, changes: Counter[str]) -> str:
        text = _run(early, text, changes)
        text = clean_lightly(text, changes)  # line ends, controls, normal form
        return _run(late, text, changes)

    return clean_all


def _run(steps: list[Step], text: str, changes: Counter[str]) -> str:
    odd = characters.odd_characters(text)
    for step in steps:
        if step.needs is not None and not (odd and step.needs(odd)):
            continue
        text, count = step.change(text)
        if count:
            changes[step.name] += count
            if step.adds:
                odd = characters.odd_characters(text)
    return text


def _steps(settings: Clean) -> tuple[list[Step], list[Step]]:
    """Those before and those after the light cleaning."""
    early: list[Step] = []
    late: list[Step] = []
    if settings.mojibake:
        early.append(Step("mojibake_lines", make_repair(), may_be_mojibake, adds=True))
    early.append(Step("line_ends", characters.unify_line_ends))
    if settings.markup:
        early.append(Step("tags", markup.strip_tags))
        early.append(Step("entities", markup.resolve_entities, adds=True))
    early.append(
        Step("invisible_characters", characters.drop_invisible, _any_of(characters.INVISIBLE))
    )
    if settings.unicode == "nfkc":
        late.append(Step("pieces_normalized", _compatible, bool, adds=True))
    if settings.width == "letters":
        late.append(Step("full_width", characters.halve_letters, _any_of(characters.FULL_LETTERS)))
    elif settings.width == "punctuation":
        late.append(Step("full_width", characters.halve_all))
    if settings.punctuation == "normalize":
        late.append(Step("punctuation", characters.normalize_punctuation))
    if settings.han != "keep":
        late.append(Step("han_converted", _make_converter(settings.han)))
    if settings.boilerplate:
        late.append(Step("boilerplate_lines", drop_boilerplate))
    late.append(Step("spaces", characters.unify_spaces, _any_of(characters.SPACES)))
    late.append(Step("spaces", characters.tidy_spaces))
    return early, late


def drop_boilerplate(text: str) -> tuple[str, int]:
    """Without the lines that belong to a web site; how many there were."""
    lines = text.split("\n")
    kept = [line for line in lines if len(line) > LONGEST or not line or not is_boilerplate(line)]
    return ("\n".join(kept), len(lines) - len(kept)) if len(kept) < len(lines) else (text, 0)


def _any_of(signs: Set[str]) -> Callable[[set[str]], bool]:
    return lambda odd: not odd.isdisjoint(signs)


def _compatible(text: str) -> tuple[str, int]:
    if unicodedata.is_normalized("NFKC", text):
        return text, 0
    return unicodedata.normalize("NFKC", text), 1


def _make_converter(han: str) -> Change:
    convert = need("opencc", "web").OpenCC("t2s" if han == "simplified" else "s2t").convert

    def converted(text: str) -> tuple[str, int]:
        if text.isascii() or not characters.HAN.search(text):
            return text, 0
        result = convert(text)
        return result, int(result != text)

    return converted
