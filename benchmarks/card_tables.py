"""The tables of docs/models.md and docs/models.zh.md, from the rows of results/recipes.jsonl.

A table stands between `<!-- measured: RECIPE -->` and `<!-- end -->`; the newest rows count, of
trainings that nobody shortened. A recipe without rows keeps what is there.
"""

import re
from functools import partial
from pathlib import Path
from typing import Any

from records import recorded

DOCS = Path(__file__).parents[1] / "docs"
_PLACE = re.compile(r"(<!-- measured: (\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
# (measure, score) -> how it is called, and whether it is a share.
LABELS: dict[tuple[str, str], tuple[dict[str, str], bool]] = {
    ("perplexity", "bits_per_byte"): (
        {"en": "bits per byte of held-out text", "zh": "留出文本的每字节比特数"}, False),
    ("perplexity", "perplexity"): (
        {"en": "perplexity of it, per token", "zh": "困惑度，按 token"}, False),
    ("intent", "accuracy"): (
        {"en": "answers to the right intent (of 27)", "zh": "回答切中意图（共 27 种）"}, True),
    ("intent", "references"): (
        {"en": "the written replies, judged in the same way", "zh": "原有回复，同法判断"}, True),
    ("mbpp", "pass@1"): (
        {"en": "MBPP test, pass@1 (greedy)", "zh": "MBPP 测试集 pass@1（贪心）"}, True),
    ("mathqa", "pass@1"): ({"en": "MathQA held out, pass@1", "zh": "MathQA 留出题 pass@1"}, True),
    ("mathqa", "pass@10"): (
        {"en": "MathQA held out, pass@10", "zh": "MathQA 留出题 pass@10"}, True),
    ("math", "accuracy"): ({"en": "right results", "zh": "答对的题"}, True),
    ("qa", "exact_match"): ({"en": "exact match", "zh": "完全匹配"}, True),
    ("qa", "f1"): ({"en": "F1", "zh": "F1"}, True),
    ("form", "form"): (
        {"en": "poems in the form asked for", "zh": "句数字数合乎要求的诗"}, True),
    ("form", "keywords"): ({"en": "keywords that stand in them", "zh": "写进诗里的关键词"}, True),
}  # fmt: skip
WORDS = {
    "en": {
        "before": "before",
        "after": "after",
        "cost": "{parameters:.1f}M parameters, {tokens:.1f}M tokens in {minutes:.0f} minutes; "
        "{machine}; {date}.",
        "between": " ({:.1%} to {:.1%})",
        "two_cores": ", 2 cores",
        "samples": "What it says:",
    },
    "zh": {
        "before": "微调前",
        "after": "微调后",
        "cost": "{parameters:.1f}M 参数，{tokens:.1f}M token，{minutes:.0f} 分钟；{machine}；"
        "{date}。",
        "between": "（{:.1%} 到 {:.1%}）",
        "two_cores": " 两个核心",
        "samples": "它的回答：",
    },
}


def write_tables(name: str, docs: Path = DOCS) -> None:
    """Write the tables of all recipes that have rows in results/NAME.jsonl."""
    rows = [row for row in recorded(name) if not row["settings"]]
    for file, language in (("models.md", "en"), ("models.zh.md", "zh")):
        path = docs / file
        text = path.read_text("utf-8")
        fill = partial(_filled, rows=rows, language=language)
        path.write_text(_PLACE.sub(fill, text), "utf-8")


def _filled(place: re.Match[str], rows: list[dict[str, Any]], language: str) -> str:
    newest = {(row["stage"], row["measure"]): row for row in rows if row["recipe"] == place[2]}
    shown = "\n".join(table(newest, language)) if newest else ""
    return f"{place[1]}{shown}\n{place[4]}" if shown else place[0]


def table(newest: dict[tuple[str, str], dict[str, Any]], language: str) -> list[str]:
    """The lines of a table, what the training cost, and samples.

    Args:
        newest: (stage, measure) -> the row that counts.
    """
    words, lines = WORDS[language], []
    # Base models start from nothing, so there is nothing before.
    stages = [name for name in ("before", "after") if any(stage == name for stage, _ in newest)]
    for (measure, score), (labels, is_share) in LABELS.items():
        between = words["between"]
        cells = [_cell(newest.get((stage, measure)), score, is_share, between) for stage in stages]
        if any(cells):
            lines.append(f"| {labels[language]} | {' | '.join(cell or '-' for cell in cells)} |")
    if not lines:
        return []
    trained = next(row for (stage, _), row in newest.items() if stage == "after")
    cost = words["cost"].format(
        **{
            **trained,
            "machine": trained["machine"].replace(", 2 cores", words["two_cores"]),
            "parameters": trained["parameters"] / 1e6,
            "tokens": trained["tokens"] / 1e6,
            "minutes": trained["seconds"] / 60,
        }
    )
    found = newest.get(("after", "samples"), {}).get("samples", [])
    said = "\n\n".join(f"> {prompt.strip()}\n{answer.strip()}" for prompt, answer in found)
    shown = ["", words["samples"], "", "```text", said, "```"] if said else []
    columns = [words[stage] if len(stages) > 1 else "" for stage in stages]
    head = [f"| | {' | '.join(columns)} |", "|---" * (1 + len(stages)) + "|"]
    return [*head, *lines, "", cost, *shown]


def _cell(row: dict[str, Any] | None, score: str, is_share: bool, between: str) -> str:
    found = {**row.get("scores", {}), **row.get("baselines", {})} if row else {}
    if row is None or score not in found:
        return ""
    value = found[score]
    if not is_share:
        return f"{value:.3f}" if score == "bits_per_byte" else f"{value:.1f}"
    low, high = row.get("intervals", {}).get(score, (None, None))
    return f"{value:.1%}{between.format(low, high) if low is not None else ''}"
