"""Questions on a text, answered from it: exact match and F1 (spans.py)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from xunlian.evaluation.tasks.asking import Question, Respondent, ask_plainly, is_chinese
from xunlian.evaluation.tasks.grades import Grades, first_answers, share
from xunlian.evaluation.tasks.records import Record
from xunlian.evaluation.tasks.spans import exact_match, f1


@dataclass(frozen=True)
class Reading:
    """A question with the answers that are right; an empty one where the text has none."""

    question: Question
    references: list[str]


def readings(record: Record) -> Iterator[Reading]:
    """Of a row with context, question and answers, or of a text of SQuAD's file with all of its
    questions.

    Raises:
        InputError: a field is missing, or a question has no answer.
    """
    fields = record.fields
    if "paragraphs" in fields or "qas" in fields:
        for part in fields.get("paragraphs") or [fields]:
            if not isinstance(part, dict):
                raise record.wrong("one of its texts is no object.")
            context = Record(record.place, part).text("context", "context_text")
            if not isinstance(part.get("qas"), list) or not all(
                isinstance(asked, dict) for asked in part["qas"]
            ):
                raise record.wrong("one of its texts has no list 'qas' of questions.")
            for asked in part["qas"]:
                name = asked.get("id", asked.get("query_id", "?"))
                place = f"{record.place}, question {name}"
                yield _reading(Record(place, {"context": context, **asked}))
    else:
        yield _reading(record)


def read_all(records: Sequence[Record]) -> list[Reading]:
    """Raises InputError: as `readings`, or there is no question at all."""
    found = [reading for record in records for reading in readings(record)]
    if not found:
        raise records[0].wrong("there is no question in it, nor in what follows.")
    return found


def _reading(record: Record) -> Reading:
    context, asked = record.text("context", "passage"), record.text("question", "query_text")
    given = record.fields.get("answers")
    without = isinstance(given, dict) and given.get("text") == []  # as Hugging Face has SQuAD 2.0
    if record.fields.get("is_impossible") or without:
        references = [""]
    else:
        references = _texts(record.first("answers", "answer"))
        if not references:
            raise record.wrong("its answers are no texts.")
    name = str(record.fields.get("id", record.fields.get("query_id", record.place)))
    return Reading(ask_plainly(name, asked, references[0], context), references)


def _texts(answers: Any) -> list[str]:
    """Texts, objects with a text, or Hugging Face's {'text': [...]}."""
    if isinstance(answers, dict):
        answers = answers.get("text")
    if isinstance(answers, str):
        answers = [answers]
    if not isinstance(answers, list):
        return []
    texts = [each.get("text") if isinstance(each, dict) else each for each in answers]
    return [text for text in texts if isinstance(text, str)]


def grade_questions(found: Sequence[Reading], respondent: Respondent) -> Grades:
    """Exact match and F1, as SQuAD's script counts them, or CMRC's where answers are Chinese.

    Raises:
        InputError: as `Respondent.answers`.
    """
    # All in one way, so that a figure can be compared.
    chinese = 2 * sum(is_chinese(" ".join(each.references)) for each in found) > len(found)
    asked = [each.question for each in found]
    answers, too_long = first_answers(respondent.answers(asked, stop=("\n",)))
    exact, partial, rows = [], [], []
    for each, given in zip(found, answers, strict=True):
        answer = (given or "").strip()
        exact.append(given is not None and bool(exact_match(answer, each.references, chinese)))
        partial.append(0.0 if given is None else f1(answer, each.references, chinese))
        rows.append(
            {
                "id": each.question.name,
                "question": each.question.messages[-1]["content"],
                "answer": given,
                "expected": each.references,
                "exact": exact[-1],
                "f1": partial[-1],
            }
        )
    matched, interval = share(exact)
    return Grades(
        {"exact_match": matched, "f1": sum(partial) / len(partial)},
        rows,
        len(rows),
        too_long,
        {"exact_match": interval},
        signature=["normalization:cmrc2018" if chinese else "normalization:squad"],
    )
