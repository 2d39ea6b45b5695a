"""Multiple choice: which answer does the model find the most likely?

Nothing is generated. The choices themselves are scored after the question, not letters that stand
for them, as lm-evaluation-harness does for ARC and HellaSwag
(https://github.com/EleutherAI/lm-evaluation-harness): small models do not know what letters are.

Shapes: B rows, L length, D model width, V vocabulary, N scored tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from xunlian.console import progress
from xunlian.errors import InputError
from xunlian.evaluation.perplexity import evaluating
from xunlian.evaluation.tasks.asking import Question, Respondent, ask_plainly
from xunlian.evaluation.tasks.grades import Grades, share
from xunlian.evaluation.tasks.records import Record
from xunlian.models.decoder import Decoder
from xunlian.models.losses import chunk_positions
from xunlian.models.recurrent import RecurrentModel
from xunlian.tokenizer.tokenizer import Tokenizer

BATCH_TOKENS = 4096  # in memory at once
_LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True)
class Choice:
    """A question, what can be answered, and the number of the right one."""

    question: Question
    choices: list[str]
    right: int


def read_choice(record: Record) -> Choice:
    """A row {question, choices, answer}, or with columns A, B, C ... for the choices; the answer is
    the label of a choice where they have some, its number from 0, its text, or a letter.

    Raises:
        InputError: a field is missing, or the answer is none of the choices.
    """
    asked, fields = record.text("question", "prompt", "input"), record.fields
    given = fields.get("choices", fields.get("options"))
    labels: list[str] = []
    if isinstance(given, dict):  # as Hugging Face's ARC has them
        named = given.get("label")
        labels = [str(label) for label in named] if isinstance(named, list) else []
        given = given.get("text")
    if given is None:
        labels = [letter for letter in _LETTERS if fields.get(letter) not in (None, "")]
        given = [fields[letter] for letter in labels]
    if not isinstance(given, list) or len(given) < 2:
        raise record.wrong("it has no choices: a list of at least two, or columns A, B, ...")
    if not all(isinstance(choice, str | int | float) for choice in given):
        raise record.wrong("its choices are no texts.")
    if labels and len(labels) != len(given):
        raise record.wrong("its choices and their labels are not equally many.")
    choices = [str(choice).strip() for choice in given]
    if not all(choices):
        raise record.wrong("one of its choices is empty.")
    right = _number(record.first("answer", "answerKey", "label", "target"), choices, labels)
    if right is None:
        raise record.wrong(f"its answer, '{fields.get('answer')}', is none of the choices.")
    name = str(fields.get("id", record.place))
    return Choice(ask_plainly(name, asked, choices[right]), choices, right)


def _number(answer: object, choices: Sequence[str], labels: Sequence[str]) -> int | None:
    text = str(answer).strip()
    if text in labels or text.upper() in labels:
        return labels.index(text if text in labels else text.upper())
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return answer  # MMLU's, also among numbers
    if text in choices:
        return choices.index(text)
    if not labels and len(text) == 1 and text.upper() in _LETTERS[: len(choices)]:
        return _LETTERS.index(text.upper())
    if text.isdecimal() and int(text) < len(choices):
        return int(text)
    return None


def choice_question(record: Record) -> Question:
    """Raises InputError: as `read_choice`."""
    return read_choice(record).question


def grade_choices(items: Sequence[Choice], respondent: Respondent, dtype: torch.dtype) -> Grades:
    """The share of questions whose right choice has the highest log-likelihood; and that for each
    character, which does not favour short choices.

    Raises:
        InputError: as `Respondent.prompts`.
    """
    model = respondent.model.loaded.model
    assert isinstance(model, Decoder | RecurrentModel)
    tokenizer = respondent.model.loaded.tokenizer
    prompts = respondent.prompts([item.question for item in items])
    texts: list[tuple[list[int], int]] = []
    places: list[range | None] = []
    for item, prompt in zip(items, prompts, strict=True):
        before, gap = item.question.text[-1:], item.question.gap
        if respondent.chat:
            before, gap = "", ""
        ends = [_ending(tokenizer, before, gap + choice) for choice in item.choices]
        longest = max(map(len, ends))
        if prompt is None or len(prompt) + longest - 1 > respondent.model.engine.context:
            places.append(None)
            continue
        places.append(range(len(texts), len(texts) + len(ends)))
        texts += [(prompt + end, len(end)) for end in ends]
    if not texts:
        raise InputError("No question fits the model's context with its choices.")
    nats = _log_likelihoods(model, texts, dtype)
    by_sum, by_character, rows = [], [], []
    for item, place in zip(items, places, strict=True):
        scores = None if place is None else nats[place.start : place.stop]
        best = normalized = None
        if scores is not None:
            best = int(scores.argmax())
            normalized = int((scores / [len(choice) for choice in item.choices]).argmax())
        by_sum.append(best == item.right)
        by_character.append(normalized == item.right)
        rows.append(
            {
                "id": item.question.name,
                "question": item.question.messages[-1]["content"],
                "choices": item.choices,
                "log_likelihoods": None if scores is None else scores.tolist(),
                "expected": item.right,
                "found": best,
                "found_normalized": normalized,
            }
        )
    plain, plain_interval = share(by_sum)
    normal, normal_interval = share(by_character)
    return Grades(
        {"accuracy": plain, "accuracy_normalized": normal},
        rows,
        len(rows),
        places.count(None),
        {"accuracy": plain_interval, "accuracy_normalized": normal_interval},
        {"chance": sum(1 / len(item.choices) for item in items) / len(items)},
        ["by:log-likelihood", "normalized:character"],
    )


def _ending(tokenizer: Tokenizer, before: str, text: str) -> list[int]:
    """The tokens of `text` behind `before`. By itself, some tokenizers put a space before it."""
    first, whole = tokenizer.encode(before), tokenizer.encode(before + text)
    if before and whole[: len(first)] == first and len(whole) > len(first):
        return whole[len(first) :]
    return tokenizer.encode(text)


def _log_likelihoods(
    model: Decoder | RecurrentModel, texts: Sequence[tuple[list[int], int]], dtype: torch.dtype
) -> np.ndarray:
    """Of (tokens, how many of the last are scored): the sum of their log p, in nats, each."""
    order = sorted(range(len(texts)), key=lambda number: len(texts[number][0]))
    weight_VD = model.head_weight.to(dtype)
    nats = np.zeros(len(texts))
    with evaluating(model), progress() as bar:
        task = bar.add_task("score", total=len(texts))
        while order:
            length = len(texts[order[-1]][0]) - 1
            size = max(1, BATCH_TOKENS // length)
            order, part = order[:-size], order[-size:]
            inputs_BL = torch.zeros((len(part), length), dtype=torch.int64)
            rows: list[int] = []
            columns: list[int] = []
            targets: list[int] = []
            for row, number in enumerate(part):
                tokens, scored = texts[number]
                inputs_BL[row, : len(tokens) - 1] = torch.tensor(tokens[:-1])
                rows += [row] * scored
                columns += range(len(tokens) - 1 - scored, len(tokens) - 1)
                targets += tokens[-scored:]
            hidden_ND = model(inputs_BL.to(weight_VD.device), dtype)[rows, columns]
            targets_N = torch.tensor(targets, device=weight_VD.device)
            found = [
                F.cross_entropy(F.linear(some_ND, weight_VD).float(), some_N, reduction="none")
                for some_ND, some_N in zip(
                    hidden_ND.split(chunk_positions(weight_VD)),
                    targets_N.split(chunk_positions(weight_VD)),
                    strict=True,
                )
            ]
            np.subtract.at(nats, np.array(part)[rows], torch.cat(found).double().cpu().numpy())
            bar.advance(task, len(part))
    return nats
