"""The recipes that stand on base models: trained in full, and measured before and after.

    python benchmarks/recipes.py [RECIPE ...] --data DATA [--work FOLDER] [--set key=value ...]
    python benchmarks/recipes.py --tables

Trains `base-en` and `base-zh` by their budgets (forty minutes each) and from them every recipe of
fine-tuning (some minutes each), as a user would: `xunlian train RECIPE`. "Before" is the same model
with the tokens of the chat template, trained for one step at a rate of almost nothing. Each measure
is a row of results/recipes.jsonl. Stop it at any time: what is recorded for this machine is not
measured again, and an interrupted training goes on. `--set` changes settings of the trainings (such
as training.budget=60s), for a trial, which wants a WORK of its own; its rows say so. `--tables`
writes the newest rows of full trainings into docs/models.md and docs/models.zh.md; it is also done
at the end.

DATA holds lm_en/enwiki2015, lm_en/enwikinews, lm_zh/zhwiki2023 and lm_zh/novels; without it the
text is taken from where the recipes look for it, WORK/downloads.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from card_tables import write_tables
from records import record, recorded_here

import xunlian
from xunlian.runs.folder import open_run

NAME = "recipes"
BASES = {
    "base-en": ["lm_en/enwiki2015", "lm_en/enwikinews/wiki_0*.gz", "lm_en/enwikinews/wiki_1*.gz",
                "lm_en/enwikinews/wiki_20*.gz"],
    "base-zh": ["lm_zh/zhwiki2023", "lm_zh/novels"],
}  # fmt: skip
STANDING_STILL = [
    "training.budget=1 steps",
    *(f"training.{kind}learning_rate=1e-12" for kind in ("", "embedding_", "head_", "norm_")),
]
# Recipe -> the tasks it is measured by, beside the perplexity of held-out answers.
TASKS: dict[str, dict[str, dict[str, Any]]] = {
    "support-chat-en": {
        "intent": {
            "task": "intent",
            "data": "sample:bitext.val.csv.gz",
            "examples": "sample:bitext.train.csv.gz",
        }
    },
    "support-chat-zh": {},
    "write-poems-zh": {},
    "write-stories-en": {},
    "code-python": {
        "mbpp": {"task": "code", "data": "sample:mbpp.test.jsonl.gz"},
        "mathqa": {
            "task": "code",
            "data": "sample:mathqa.val.jsonl.gz",
            "samples": 10,
            "overrides": ["decoding.temperature=0.8"],
        },
    },
    "tutor-math": {"math": {"task": "math", "data": "sample:gsm8k.val.jsonl.gz"}},
    "qa-zh": {"qa": {"task": "qa", "data": "sample:cmrc.val.json.gz"}},
}
TITLES = ("春日", "秋夜", "登高", "江上", "送友人", "山居", "寒食", "望月", "早行", "闻笛")
KEYWORDS = ("明月、故乡", "春风、桃花", "白云、青山", "秋风、落日", "江南、万里",
            "黄昏、细雨", "长安、少年", "天涯、归人", "夜雨、孤舟", "梅花、白雪")  # fmt: skip
FORMS = {"五言绝句": (4, 5), "七言绝句": (4, 7), "五言律诗": (8, 5), "七言律诗": (8, 7)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [*BASES, *TASKS]
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help=f"of {', '.join(names)}")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("recipes-work"))
    parser.add_argument("--set", nargs="+", default=[], metavar="key=value")
    parser.add_argument("--tables", action="store_true", help="only write the tables")
    options = parser.parse_args()
    for name in options.recipes:
        if name not in names:
            parser.error(f"there is no recipe '{name}'; there are {', '.join(names)}")
    if not options.tables:
        data = options.data and options.data.resolve()
        options.work.mkdir(parents=True, exist_ok=True)
        os.chdir(options.work)
        for name in options.recipes or names:
            print(f"== {name}", flush=True)
            measure(name, data, options.set)
    write_tables(NAME)


def measure(name: str, data: Path | None, settings: list[str]) -> None:
    """Train a recipe and record what it lacks."""
    if name in BASES:
        texts = [str(data / path) for path in BASES[name]] if data else []
        sources = f"corpus.sources={texts}".replace("'", '"')
        trained = train(name, f"runs/{name}-1", [*([sources] if texts else []), *settings])
        stages = {"after": trained}
    else:
        stages = {
            "before": train(name, f"runs/{name}-before", [*settings, *STANDING_STILL]),
            "after": train(name, f"runs/{name}-1", settings),
        }
    for stage, run in stages.items():
        for what, find in measures(name, run).items():
            row = {"recipe": name, "stage": stage, "measure": what, "settings": settings}
            if any(row.items() <= known.items() for known in recorded_here(NAME)):
                continue
            row |= find()
            print({k: v for k, v in row.items() if k in ("stage", "measure", "scores")}, flush=True)
            record(NAME, row | training_of(run))


def train(recipe: str, run: str, settings: list[str]) -> str:
    """A finished run in the folder `run`, by a process of its own, as a user would."""
    command = [sys.executable, "-m", "xunlian", "train"]
    if not Path(run).exists():
        subprocess.run([*command, recipe, *settings, "--out", run], check=True)
    elif not open_run(run).facts().get("finished"):
        subprocess.run([*command, run, "--resume"], check=True)
    return run


def training_of(run: str) -> dict[str, Any]:
    """What the run cost."""
    facts, recipe = open_run(run).facts(), open_run(run).recipe
    return {
        "parameters": facts["parameters"],
        "tokens": facts["tokens"],
        "seconds": facts["seconds"],
        "threads": recipe.training.threads,
        "budget": recipe.training.budget,
    }


def measures(name: str, run: str) -> dict[str, Callable[[], dict[str, Any]]]:
    """Name -> how to find it."""
    found: dict[str, Callable[[], dict[str, Any]]] = {"perplexity": lambda: scores(run)}
    for what, task in TASKS.get(name, {}).items():
        found[what] = lambda task=task: scores(run, **task)
    if name == "write-poems-zh":
        found["form"] = lambda: {"scores": poem_scores(run)}
    found["samples"] = lambda: {"samples": list(samples(run))}
    return found


def scores(run: str, **options: Any) -> dict[str, Any]:
    result = xunlian.evaluate(run, **options)
    kept = ("scores", "intervals", "baselines", "items", "too_long", "signatures", "tokens")
    return {key: result[key] for key in kept if key in result}


def samples(run: str) -> Iterator[list[str]]:
    """[prompt, what the model says] for each prompt of the recipe; the same every time."""
    recipe = open_run(run).recipe
    for prompt in recipe.prompts:
        if recipe.task == "chat":
            yield [prompt, xunlian.chat(run, prompt, seed=1)]
        else:
            yield [prompt, xunlian.generate(run, prompt, max_tokens=60, seed=1)]


def poem_scores(run: str) -> dict[str, float]:
    """Of eighty poems, the share with the asked number of lines and characters, and of those with
    keywords the share of keywords that stand in the poem."""
    kept = found = wanted = 0
    asked = [f"题目：{title}" for title in TITLES] + [f"关键词：{pair}" for pair in KEYWORDS]
    for form, shape in FORMS.items():
        for wish in asked:
            poem = xunlian.chat(run, f"写一首{form}，{wish}", seed=1)
            lines = [line for line in re.split(r"[，。？！；\s]+", poem) if line]
            kept += len(lines) == shape[0] and {len(line) for line in lines} == {shape[1]}
            if wish.startswith("关键词"):
                keywords = wish.removeprefix("关键词：").split("、")
                wanted += len(keywords)
                found += sum(keyword in poem for keyword in keywords)
    return {"form": kept / (len(FORMS) * len(asked)), "keywords": found / wanted}


if __name__ == "__main__":
    main()
