"""How near texts are to their references: BLEU, chrF, TER and ROUGE, with signatures.

- BLEU (Papineni et al., 2002), chrF (Popović, 2015) and TER (Snover et al., 2006) are sacreBLEU's
  (Post, 2018, https://aclanthology.org/W18-6319): 0 to 100, over the whole corpus.
- ROUGE is that of rouge.py: F1, 0 to 1, the mean over the texts.
- The language decides what a word is. Chinese and Japanese write no spaces, so their characters
  are the words, also for TER, which otherwise would take a whole sentence as one.
"""

import json
import re
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from xunlian.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric

METRICS = ("bleu", "chrf", "ter", "rouge")
CHINESE = ("zh", "zho", "cmn", "yue", "lzh", "wuu", "nan", "hak")
JAPANESE = ("ja", "jpn")
ENGLISH = ("en", "eng")


def score(
    hypotheses: Sequence[str],
    references: Sequence[str] | Sequence[Sequence[str]],
    metrics: str | Sequence[str] = ("bleu", "rouge"),
    language: str = "en",
    bootstrap: int = 0,
) -> dict[str, Any]:
    """Compare texts with their references.

    Args:
        hypotheses: the texts to score, without the references' tokenization.
        references: one text for each hypothesis, or a list of several; not all need have as many.
        metrics: names, of METRICS; in one string they stand between commas.
        language: the code of the language of the texts, such as 'en', 'zh', 'zh-TW', 'de'.
        bootstrap: number of samples for a 95% interval, 0 for none; 1000 is usual. sacreBLEU
            needs about 100 bytes of memory for each sample of each hypothesis.

    Returns:
        `bleu`, `chrf`, `ter` (0 to 100; a TER may exceed it), `rouge1`, `rouge2`, `rougeL`,
        `rougeLsum` (0 to 1), as far as asked for; `signatures` by metric; with a bootstrap also
        `intervals`, (low, high) by score: sacreBLEU's lies evenly about the mean of its samples.

    Raises:
        InputError: an unknown metric or language, no hypotheses, or references that do not fit.
    """
    names = _metric_names(metrics)
    code = _language_code(language)
    _check_texts("hypotheses", hypotheses)
    listed = _listed(references, len(hypotheses))
    check_bootstrap(bootstrap)

    scores: dict[str, float] = {}
    signatures: dict[str, str] = {}
    intervals: dict[str, tuple[float, float]] = {}
    for name in names:
        if name == "rouge":
            from xunlian.evaluation.rouge import rouge

            found = rouge(hypotheses, listed, tokenizer=_rouge_tokenizer(code), bootstrap=bootstrap)
            scores |= found.scores
            intervals |= found.intervals
            signatures[name] = found.signature
        else:
            metric = _sacrebleu_metric(name, code)
            # sacreBLEU wants the first reference of all texts, then the second of all, ...
            result = metric.corpus_score(
                hypotheses, list(zip_longest(*listed)), n_bootstrap=max(bootstrap, 1)
            )
            scores[name] = float(result.score)
            signatures[name] = str(metric.get_signature())
            if bootstrap:
                intervals[name] = _interval(
                    result.format(width=12, is_json=True, signature=signatures[name])
                )
    answer: dict[str, Any] = {**scores, "signatures": signatures}
    if bootstrap:
        answer["intervals"] = intervals
    return answer


def check_bootstrap(samples: int) -> None:
    """Raises InputError when an interval cannot be made of so many samples, and it is not 0."""
    if samples < 0 or samples == 1:
        raise InputError(f"bootstrap={samples} is no number of samples: use 0, or 2 and more.")


def _sacrebleu_metric(name: str, code: str) -> "Metric":
    from sacrebleu.metrics import BLEU, CHRF, TER

    if name == "bleu":
        tokenizer = "zh" if code in CHINESE else "char" if code in JAPANESE else "13a"
        return BLEU(tokenize=tokenizer)
    if name == "chrf":
        return CHRF()
    by_character = code in CHINESE + JAPANESE
    return TER(normalized=by_character, asian_support=by_character)


def _interval(formatted: str) -> tuple[float, float]:
    """From sacreBLEU's JSON, which says nothing of samples that are all zero."""
    found = json.loads(formatted)
    mean, half = found.get("confidence_mean", 0.0), found.get("confidence_var", 0.0)
    return mean - half, mean + half


def _rouge_tokenizer(code: str) -> str:
    if code in ENGLISH:
        return "english"
    return "characters" if code in CHINESE + JAPANESE else "words"


def _metric_names(metrics: str | Sequence[str]) -> list[str]:
    names = metrics.split(",") if isinstance(metrics, str) else metrics
    names = list(dict.fromkeys(name.strip() for name in names))
    known = f"There are: {', '.join(METRICS)}."
    if not names:
        raise InputError(f"No metric is asked for. {known}")
    for name in names:
        if name not in METRICS:
            raise InputError(f"There is no metric '{name}'.{did_you_mean(name, METRICS)} {known}")
    return names


def _language_code(language: str) -> str:
    code = re.split("[-_]", language.lower())[0]
    if not re.fullmatch("[a-z]{2,3}", code):
        raise InputError(f"'{language}' is no language code. Use one such as 'en', 'zh' or 'de'.")
    return code


def _listed(references: Sequence[Any], count: int) -> list[Sequence[str]]:
    """One list of references for each hypothesis."""
    _check_list("references", references)
    if count != len(references):
        raise InputError(
            f"There are {count} hypotheses but {len(references)} references. Each hypothesis "
            "needs its own: one text, or a list of several."
        )
    if isinstance(references[0], str):
        _check_texts("references", references)
        return [[reference] for reference in references]
    for i, several in enumerate(references):
        _check_texts(f"references[{i}]", several)
    return list(references)


def _check_texts(name: str, texts: Sequence[str]) -> None:
    _check_list(name, texts)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"{name}[{i}] must be a text, not {_shown(text)}.")


def _check_list(name: str, texts: Sequence[Any]) -> None:
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise InputError(f"{name} must be a list of texts, not {_shown(texts)}.")
    if not texts:
        raise InputError(f"There is nothing to score: {name} is empty.")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
