"""What `evaluate` found, as lines for a terminal; the score to look at first is marked with *."""

from collections.abc import Iterator, Mapping
from typing import Any

_PREDICTION = {
    "word_perplexity": "perplexity per word",
    "character_perplexity": "perplexity per character",
    "bits_per_byte": "bits per byte",
    "perplexity": "perplexity per token",
    "loss": "loss, nats per token",
}
_TASKS = {
    "accuracy": "accuracy",
    "accuracy_normalized": "accuracy, by length",
    "exact_match": "exact match",
    "f1": "F1",
}
_ITEMS = {"code": "problems", "math": "problems", "intent": "conversations"}
_BASELINES = {
    "references": "the reference answers",
    "most_frequent": "always the most frequent intent",
    "chance": "guessing",
}
_TEXTS = {
    "bleu": "BLEU",
    "chrf": "chrF",
    "ter": "TER (0 is best)",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "rougeLsum": "ROUGE-Lsum",
}


def table(result: Mapping[str, Any]) -> str:
    """The result of `xunlian.evaluate` as lines of text."""
    kind = _pair_lines if "segments" in result else _text_lines
    lines = _task_lines(result) if "items" in result else kind(result)
    signatures = (f"{name}: {text}" for name, text in result["signatures"].items())
    return "\n".join([*lines, "", *signatures])


def _text_lines(result: Mapping[str, Any]) -> Iterator[str]:
    scores = result["scores"]
    main = "word_perplexity" if _has_words(result) else "character_perplexity"
    rows = sorted((name for name in _PREDICTION if name in scores), key=lambda name: name != main)
    units = ("conversations", "answer tokens") if "cut" in result else ("documents", "tokens")
    yield (
        f"{result['data']}: {result['documents']:,} {units[0]}, {result['tokens']:,} {units[1]}, "
        f"{result['characters']:,} characters, {result['bytes']:,} bytes"
    )
    yield ""
    for name in rows:
        yield (f"{'*' if name == main else ' '} {_PREDICTION[name]:<26}{_figure(scores[name]):>12}")
    yield ""
    yield "Per word, character and byte, any two models can be compared on the same text;"
    yield "per token, only models with the same tokenizer."
    for name, what in (("cut", "were cut at a turn"), ("left_out", "were left out")):
        if result.get(name):
            yield f"{result[name]:,} conversations longer than the model's context {what}."


def _pair_lines(result: Mapping[str, Any]) -> Iterator[str]:
    scores, baselines = result["scores"], result["baselines"]
    yield f"{result['data']}: {result['segments']:,} pairs, scored as {result['language']}"
    yield ""
    heads = "".join(f"{name:>10}" for name in baselines)
    if heads or result["intervals"]:
        interval = f"{'95% interval':>19}" if result["intervals"] else ""
        yield f"  {'':<22}{'model':>10}{interval}{heads}"
    rows = [name for name in _TEXTS if name in scores]
    for number, name in enumerate(rows):
        interval = ""
        if result["intervals"]:
            low, high = result["intervals"][name]
            interval = f"{f'{_score(name, low)} to {_score(name, high)}':>19}"
        others = "".join(f"{_score(name, found[name]):>10}" for found in baselines.values())
        yield (
            f"{' ' if number else '*'} {_TEXTS[name]:<22}{_score(name, scores[name]):>10}"
            f"{interval}{others}"
        )
    for name in (name for name in _PREDICTION if name in scores):
        yield f"{' ' if rows else '*'} {_PREDICTION[name]:<22}{_figure(scores[name]):>10}"
    if result["left_out"]:
        yield ""
        yield (
            f"{result['left_out']:,} pairs are longer than the model's context: no perplexity of "
            "these."
        )


def _task_lines(result: Mapping[str, Any]) -> Iterator[str]:
    what = _ITEMS.get(result["task"], "questions")
    yield f"{result['data']}: {result['items']:,} {what}"
    yield ""
    for number, (name, value) in enumerate(result["scores"].items()):
        interval = ""
        if name in result["intervals"]:
            low, high = result["intervals"][name]
            interval = f"   95% interval {low:.1%} to {high:.1%}"
        mark = " " if number else "*"
        yield f"{mark} {_TASKS.get(name, name):<32}{value:>8.2%}{interval}"
    for name, value in result["baselines"].items():
        yield f"  {_BASELINES[name]:<32}{value:>8.2%}"
    if result["too_long"]:
        yield ""
        yield (
            f"{result['too_long']:,} {what} leave no room for an answer in the model's context: "
            "they count as wrong."
        )


def _score(name: str, value: float) -> str:
    return f"{value:.4f}" if name.startswith("rouge") else f"{value:.2f}"


def _has_words(result: Mapping[str, Any]) -> bool:
    """Whether the text puts spaces between its words, as English does and Chinese does not."""
    return bool(result["words"]) and 2.5 <= result["characters"] / result["words"] <= 15


def _figure(value: float) -> str:
    return f"{value:,.3f}" if value < 1e6 else f"{value:.3g}"
