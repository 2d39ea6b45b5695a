"""Mathematical problems in words: is the number right that an answer ends with?"""

from collections.abc import Sequence

from xunlian.evaluation.tasks.asking import PLAIN_STOPS, Question, Respondent, ask_plainly
from xunlian.evaluation.tasks.grades import Grades, first_answers, share
from xunlian.evaluation.tasks.numbers import final_number
from xunlian.evaluation.tasks.records import Record

_ANSWER = ("answer", "golden", "solution", "output", "completion")


def math_question(record: Record) -> Question:
    """A row as GSM8K has it (question, answer with '#### 42') or CMATH (input, golden).

    Raises:
        InputError: a field is missing, or the answer has no number.
    """
    asked = record.text("question", "input", "problem", "prompt", "instruction")
    answer = record.text(*_ANSWER)
    if final_number(answer) is None:
        raise record.wrong(f"the answer '{answer[-60:]}' has no number to compare with.")
    return ask_plainly(str(record.fields.get("id", record.place)), asked, answer)


def grade_math(questions: Sequence[Question], respondent: Respondent) -> Grades:
    """The share of problems whose number is right.

    Raises:
        InputError: as `Respondent.answers`.
    """
    answers, too_long = first_answers(respondent.answers(questions, stop=PLAIN_STOPS))
    right, rows = [], []
    for question, answer in zip(questions, answers, strict=True):
        wanted = final_number(question.answer)
        found = None if answer is None else final_number(answer)
        right.append(found == wanted)
        rows.append(
            {
                "id": question.name,
                "question": question.messages[-1]["content"],
                "answer": answer,
                "found": None if found is None else str(found),
                "expected": str(wanted),
                "right": right[-1],
            }
        )
    accuracy, interval = share(right)
    return Grades(
        {"accuracy": accuracy}, rows, len(rows), too_long, {"accuracy": interval},
        signature=["number:last-after-####"],
    )  # fmt: skip
