"""A model on a task: from files of problems and a run to the whole result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import torch

import xunlian
from xunlian.decoding.model import prepare_language_model
from xunlian.errors import InputError
from xunlian.evaluation.evaluate_text import precision_of
from xunlian.evaluation.tasks.asking import Question, Respondent
from xunlian.evaluation.tasks.choices import choice_question, grade_choices, read_choice
from xunlian.evaluation.tasks.code import Samples, grade_code
from xunlian.evaluation.tasks.grades import Grades
from xunlian.evaluation.tasks.maths import grade_math, math_question
from xunlian.evaluation.tasks.programs import problem_question, read_problem
from xunlian.evaluation.tasks.questions import grade_questions, read_all
from xunlian.evaluation.tasks.records import Record, read_task
from xunlian.evaluation.tasks.support import grade_support, read_support, support_question
from xunlian.files import atomic_write
from xunlian.models.decoder import Decoder
from xunlian.models.recurrent import RecurrentModel
from xunlian.recipe.settings import Decoding, Recipe
from xunlian.runs.load import Loaded, load_folder, load_run
from xunlian.tokenizer.chat import load_chat

SEED = 1  # where none is given: an evaluation gives the same figures twice
TIMEOUT = 10.0

# How a row of the examples is shown with its answer.
_SHOWN: Mapping[str, Callable[[Record], Question]] = {
    "code": problem_question,
    "math": math_question,
    "qa": lambda record: read_all([record])[0].question,
    "intent": support_question,
    "choice": choice_question,
}


@dataclass(frozen=True)
class Options:
    """What can be said of a task beside its files; None: not said.

    Attributes:
        samples: programs for each problem. Of code only, as are the next two.
        pass_at: the k of pass@k. Default: 1 and `samples`.
        timeout: seconds that a program may take.
        examples: a file of rows with answers: for `shots`, and from which intents are known.
        shots: how many of the examples are shown before each question.
        temperature: whether one was asked for; else the most probable answer is taken, but for
            several samples.
    """

    samples: int | None = None
    pass_at: Sequence[int] | None = None
    timeout: float | None = None
    examples: str | Path | None = None
    shots: int | None = None
    temperature: bool = False


def evaluate_task(
    task: str,
    run: str | Path,
    recipe: Recipe,
    paths: Sequence[str],
    options: Options,
    output: str | Path | None = None,
) -> dict[str, Any]:
    """Let a model answer the problems of `paths`, and count what is right; as `xunlian.evaluate`
    returns it.

    Raises:
        InputError: no such file, a row that the task cannot use, an option that does not fit, or a
            model that is no language model.
    """
    samples = _samples(task, options)
    decoding = _decoding(recipe.decoding, samples.count, options.temperature)
    records = read_task(paths, recipe.corpus)
    examples, shots = _examples(task, recipe, options)
    precision = precision_of(recipe)
    grade = _grader(task, records, examples, samples, precision)
    folder = load_folder(run)
    chat = load_chat(folder)
    loaded = load_run(run)
    if not isinstance(loaded.model, Decoder | RecurrentModel):
        raise InputError(
            f"'{run}' turns a source into a target, and tasks are for models that go on with a "
            "text. Leave out --task to compare what it writes with references."
        )
    respondent = Respondent(prepare_language_model(loaded, precision), chat, decoding, shots)
    grades = grade(respondent)
    if output is not None:
        with atomic_write(Path(output)) as file:
            file.writelines(orjson.dumps(row) + b"\n" for row in grades.rows)
    return {
        "scores": dict(grades.scores),
        "signatures": {task: _signature(task, respondent, loaded, precision, grades)},
        "data": ", ".join(paths),
        "task": task,
        "items": grades.items,
        "too_long": grades.too_long,
        "intervals": {name: list(ends) for name, ends in grades.intervals.items()},
        "baselines": dict(grades.baselines),
    }


def _grader(
    task: str, records: list[Record], examples: list[Record], samples: Samples, precision: str
) -> Callable[[Respondent], Grades]:
    """Reads the problems, so that a mistake in them is told before a model is opened."""
    if task == "code":
        return partial(grade_code, [read_problem(each) for each in records], samples=samples)
    if task == "math":
        return partial(grade_math, [math_question(each) for each in records])
    if task == "qa":
        return partial(grade_questions, read_all(records))
    if task == "intent":
        return partial(grade_support, read_support(records, examples))
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return partial(grade_choices, [read_choice(each) for each in records], dtype=dtype)


def _samples(task: str, options: Options) -> Samples:
    if task != "code":
        for name in ("samples", "pass_at", "timeout"):
            if getattr(options, name) is not None:
                raise InputError(f"--{name.replace('_', '-')} is for --task code only.")
    count = 1 if options.samples is None else options.samples
    if count < 1:
        raise InputError(f"--samples {count} is not possible; take at least 1.")
    pass_at = sorted(set(options.pass_at or (1, count)))
    for k in pass_at:
        if not 1 <= k <= count:
            raise InputError(
                f"pass@{k} cannot be told from {count} samples a problem. Take --samples {k} or "
                "more." if k > count else f"pass@{k} means nothing; --pass-at takes 1 and more."
            )  # fmt: skip
    timeout = TIMEOUT if options.timeout is None else options.timeout
    if not 0 < timeout <= 3600:
        raise InputError(f"--timeout {timeout:g} is not possible; take 1 to 3600 seconds.")
    return Samples(count, pass_at, timeout)


def _decoding(decoding: Decoding, samples: int, temperature: bool) -> Decoding:
    changed: dict[str, Any] = {"seed": SEED if decoding.seed is None else decoding.seed}
    if samples == 1 and not temperature:
        changed["temperature"] = 0.0
    elif samples > 1 and not decoding.temperature:
        raise InputError(
            f"At temperature 0 all {samples} samples are the same. Give it "
            "decoding.temperature=0.8, or leave out --samples."
        )
    return decoding.model_copy(update=changed)


def _examples(task: str, recipe: Recipe, options: Options) -> tuple[list[Record], list[Question]]:
    shots = options.shots or 0
    if options.examples is None:
        if task == "intent":
            raise InputError(
                "--task intent tells an answer's intent by answers whose intents are known. Name a "
                "file of them with --examples, such as the rows the model was trained on."
            )
        if shots:
            raise InputError(f"Which are the {shots} examples to show? Name a file by --examples.")
        return [], []
    if shots < 0:
        raise InputError(f"--shots {shots} is not possible; take 0 or more.")
    if not shots and task != "intent":
        raise InputError("Say with --shots how many of the --examples are shown.")
    examples = read_task([str(options.examples)], recipe.corpus)
    if shots > len(examples):
        raise InputError(
            f"'{options.examples}' has {len(examples):,} examples, and --shots asks for {shots:,}."
        )
    return examples, [_SHOWN[task](record) for record in examples[:shots]]


def _signature(
    task: str, respondent: Respondent, loaded: Loaded, precision: str, grades: Grades
) -> str:
    decoding = respondent.decoding
    parts = [f"xunlian-{xunlian.__version__}", f"asked:{'chat' if respondent.chat else 'text'}",
             f"shots:{len(respondent.shots)}"]  # fmt: skip
    if task != "choice":
        parts += [f"max_tokens:{decoding.max_tokens}", f"temperature:{decoding.temperature:g}"]
        if decoding.temperature:
            parts += [f"top_p:{decoding.top_p:g}", f"seed:{decoding.seed}"]
    parts += [*grades.signature, f"precision:{precision}"]
    return "|".join([*parts, f"tokenizer:{loaded.tokenizer.fingerprint[:12]}"])
