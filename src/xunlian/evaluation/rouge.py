"""ROUGE (Lin, 2004, https://aclanthology.org/W04-1013) by `rouge-score`, for any script.

The package's own tokenizer keeps a-z and 0-9 only: it makes nothing of Chinese and breaks "café".
It serves English, so that scores compare with published ones; the two tokenizers here serve the
rest. Both take compatible forms as one (NFKC: full-width letters, composed accents), lower the
case and drop punctuation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from unicodedata import normalize

import numpy as np
import regex
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import Tokenizer

NAMES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
SEED = 12345  # sacreBLEU's own, so that one text is resampled alike for every metric

# Vowel signs of Indic scripts and Thai are marks, not letters; without them words fall apart.
_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")
_CHARACTER = r"[\p{Han}\p{Hiragana}\p{Katakana}]"
_CHARACTER_OR_WORD = regex.compile(
    rf"{_CHARACTER}\p{{M}}*|[[\p{{L}}\p{{M}}\p{{N}}]--{_CHARACTER}]+", regex.VERSION1
)


class Words(Tokenizer):
    """Runs of letters and digits of any script; no stemming."""

    def tokenize(self, text: str) -> list[str]:
        return _WORD.findall(normalize("NFKC", text).lower())


class Characters(Tokenizer):
    """Each Han or Kana character, and each run of other letters and digits."""

    def tokenize(self, text: str) -> list[str]:
        return _CHARACTER_OR_WORD.findall(normalize("NFKC", text).lower())


@dataclass(frozen=True)
class Rouge:
    """F1 of each of NAMES, 0 to 1, the mean over the hypotheses.

    `intervals` holds (low, high) at 95%, and is empty when there was no bootstrap.
    """

    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    signature: str


def rouge(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokenizer: str,
    bootstrap: int = 0,
) -> Rouge:
    """ROUGE-1, -2, -L and -Lsum of each hypothesis with the best of its references, averaged.

    ROUGE-Lsum takes each line as a sentence.

    Args:
        hypotheses: N texts, N > 0.
        references: N lists of one or more texts.
        tokenizer: "english" (the package's own, with its Porter stemmer), "characters", "words".
        bootstrap: how often the N scores of the hypotheses are drawn again.
    """
    scorer = _scorer(tokenizer)
    rows = [
        [best[name].fmeasure for name in NAMES]
        for best in map(scorer.score_multi, references, hypotheses)
    ]
    per_hypothesis = np.array(rows)
    means = per_hypothesis.mean(axis=0)
    intervals = {}
    if bootstrap:
        lows, highs = _interval(per_hypothesis, bootstrap)
        intervals = {name: (float(lows[i]), float(highs[i])) for i, name in enumerate(NAMES)}
    return Rouge(
        {name: float(mean) for name, mean in zip(NAMES, means, strict=True)},
        intervals,
        _signature({len(several) for several in references}, tokenizer, bootstrap),
    )


def _scorer(tokenizer: str) -> RougeScorer:
    if tokenizer == "english":
        return RougeScorer(NAMES, use_stemmer=True)
    return RougeScorer(NAMES, tokenizer={"characters": Characters, "words": Words}[tokenizer]())


def _interval(per_hypothesis: np.ndarray, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Between which values the middle 95% of the resampled means lie; ends as in sacreBLEU."""
    random = np.random.default_rng(SEED)
    count = len(per_hypothesis)
    means = np.sort(
        [per_hypothesis[random.integers(count, size=count)].mean(axis=0) for _ in range(samples)],
        axis=0,
    )
    return means[samples // 40], means[samples - samples // 40 - 1]


def _signature(counts: set[int], tokenizer: str, bootstrap: int) -> str:
    """In the manner of sacreBLEU's. `counts`: how many references the hypotheses have."""
    references = "var" if len(counts) > 1 else str(*counts)
    drawn = f"bs:{bootstrap}|seed:{SEED}|" if bootstrap else ""
    stemmer = f"porter-nltk-{version('nltk')}" if tokenizer == "english" else "no"
    name = "rouge-score" if tokenizer == "english" else tokenizer
    return f"nrefs:{references}|{drawn}stem:{stemmer}|tok:{name}|version:{version('rouge-score')}"
