"""A support bot's answers: are they about what the user wants (intents.py)?"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from xunlian.corpus.chat.clean import clean_conversation
from xunlian.corpus.chat.formats import FORMATS, Broken, Unknown, conversations_of
from xunlian.evaluation.tasks.asking import PLAIN_STOPS, Question, Respondent, ask_plainly
from xunlian.evaluation.tasks.grades import Grades, first_answers, share
from xunlian.evaluation.tasks.intents import IntentClassifier
from xunlian.evaluation.tasks.records import Record


def support_question(record: Record) -> Question:
    """A conversation up to its last answer, which is the reference.

    Raises:
        InputError: it is in no known form, or has a mistake.
    """
    try:
        _, found = conversations_of(record.fields)
        if not found:
            raise record.wrong("no conversation is in it.")
        turns = clean_conversation(found[0], Counter())
    except Unknown as error:
        raise record.wrong(f"no conversation is recognized in it. Known are {FORMATS}.") from error
    except Broken as error:
        raise record.wrong(f"{error}.") from error
    plain = ask_plainly(
        str(record.fields.get("id", record.place)), turns[-2]["content"], turns[-1]["content"]
    )
    return Question(plain.name, turns[:-1], plain.text, plain.answer, plain.gap)


@dataclass(frozen=True)
class Support:
    """Questions with their intents, and what tells the intent of an answer."""

    questions: list[Question]
    intents: list[str]
    examples: int
    classifier: IntentClassifier


def read_support(records: Sequence[Record], examples: Sequence[Record]) -> Support:
    """The conversations of a file.

    Args:
        examples: rows with an intent and an answer, from which intents are known by their answers.

    Raises:
        InputError: a row has no intent or no conversation, or an intent has no example.
    """
    wanted = [record.text("intent") for record in records]
    questions = [support_question(record) for record in records]
    known = [record.text("intent") for record in examples]
    there = set(known)
    for record, intent in zip(records, wanted, strict=True):
        if intent not in there:
            raise record.wrong(f"no row of the examples has its intent, '{intent}'.")
    classifier = IntentClassifier([support_question(each).answer for each in examples], known)
    return Support(questions, wanted, len(examples), classifier)


def grade_support(support: Support, respondent: Respondent) -> Grades:
    """The share of answers that are about the intent of their row.

    Raises:
        InputError: as `Respondent.answers`.
    """
    questions, wanted, classifier = support.questions, support.intents, support.classifier
    answers, too_long = first_answers(respondent.answers(questions, stop=PLAIN_STOPS))
    found = [None if answer is None else classifier.intent(answer) for answer in answers]
    right = [one == other for one, other in zip(found, wanted, strict=True)]
    rows = [
        {
            "id": question.name,
            "messages": question.messages,
            "answer": answer,
            "reference": question.answer,
            "found": intent,
            "expected": expected,
            "right": intent == expected,
        }
        for question, answer, intent, expected in zip(
            questions, answers, found, wanted, strict=True
        )
    ]
    judged = [classifier.intent(question.answer) for question in questions]
    references = sum(one == other for one, other in zip(judged, wanted, strict=True))
    accuracy, interval = share(right)
    return Grades(
        {"accuracy": accuracy},
        rows,
        len(rows),
        too_long,
        {"accuracy": interval},
        {
            "references": references / len(wanted),
            "most_frequent": Counter(wanted).most_common(1)[0][1] / len(wanted),
        },
        [f"intents:{len(classifier.intents)}", f"examples:{support.examples}", "by:tfidf-char-2-4"],
    )
