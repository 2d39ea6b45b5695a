"""How well an answer to a question on a text matches the given ones: exact match and F1.

English by words, as SQuAD's official script does (arXiv 1606.05250): lower case, without
punctuation and articles; F1 of the two bags of words. Chinese as CMRC 2018's does (arXiv
1810.07366): lower case, without its list of marks, Chinese by characters and the rest by words; F1
of the longest run of these that both have. (Its words are those of NLTK, ours all but the same.)
Of several given answers the best match counts.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_MARKS = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_UNIT = re.compile("[\u4e00-\u9fa5]|[^\\W\u4e00-\u9fa5]+(?:[.,'&][^\\W\u4e00-\u9fa5]+)*|\\S")
_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact_match(answer: str, references: Sequence[str], chinese: bool) -> float:
    """1.0 when the normalized answer is one of the normalized references, else 0.0."""
    normal = _normal_chinese if chinese else _normal_english
    return float(any(normal(answer) == normal(reference) for reference in references))


def f1(answer: str, references: Sequence[str], chinese: bool) -> float:
    """The F1 with the reference that matches best, 0 to 1."""
    score = _f1_chinese if chinese else _f1_english
    return max(score(answer, reference) for reference in references)


def _normal_english(text: str) -> str:
    bare = text.lower().translate(_ASCII_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def _f1_english(answer: str, reference: str) -> float:
    ours, theirs = _normal_english(answer).split(), _normal_english(reference).split()
    if not ours or not theirs:
        return float(ours == theirs)
    common = sum((Counter(ours) & Counter(theirs)).values())
    return _harmonic(common, len(ours), len(theirs))


def _normal_chinese(text: str) -> str:
    return text.lower().strip().translate(_MARKS)


def _f1_chinese(answer: str, reference: str) -> float:
    ours, theirs = (_UNIT.findall(_normal_chinese(text)) for text in (answer, reference))
    if not ours or not theirs:
        return 0.0
    return _harmonic(_longest_run(ours, theirs), len(ours), len(theirs))


def _longest_run(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """The length of the longest sequence of neighbours that both have."""
    best, before = 0, [0] * (len(theirs) + 1)
    for unit in ours:
        row = [0]
        for place, other in enumerate(theirs):
            row.append(before[place] + 1 if unit == other else 0)
        best, before = max(best, *row), row
    return best


def _harmonic(common: int, ours: int, theirs: int) -> float:
    return 2 * common / (ours + theirs)
