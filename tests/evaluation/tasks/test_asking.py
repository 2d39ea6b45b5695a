"""Many questions at once are answered as one at a time by the verbs of everyday."""

from collections import Counter

import pytest
import torch
from made_reciting import write_rows
from made_run import byte_tokenizer, make_model

import xunlian
from xunlian.corpus.chat.clean import clean_conversation
from xunlian.decoding.model import prepare_language_model
from xunlian.errors import InputError
from xunlian.evaluation.tasks.asking import PLAIN_STOPS, Respondent, ask_plainly
from xunlian.evaluation.tasks.choices import choice_question, grade_choices, read_choice
from xunlian.evaluation.tasks.maths import math_question
from xunlian.evaluation.tasks.programs import problem_question
from xunlian.evaluation.tasks.records import Record, read_task
from xunlian.evaluation.tasks.support import support_question
from xunlian.recipe.settings import Corpus as CorpusSettings
from xunlian.recipe.settings import Decoding
from xunlian.runs.load import load_run
from xunlian.tokenizer.chat import LEARNED, load_chat, make_chat

GREEDY = Decoding(temperature=0, max_tokens=10)
QUESTIONS = [ask_plainly(str(i), asked, "42") for i, asked in enumerate(
    ["How many?", "多少？", "If 2 and 3, then what? Say it.", "x"])]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random Qwen3 with a chat template, written by Transformers."""
    tokenizer = make_chat(byte_tokenizer(), None)[0].tokenizer
    return make_model(tmp_path_factory.mktemp("model"), tokenizer, context=160)


@pytest.fixture(scope="module")
def model(folder):
    return prepare_language_model(load_run(folder), "fp32")


def test_in_a_chat_answers_are_those_of_chat(folder, model):
    respondent = Respondent(model, load_chat(folder), GREEDY)
    for question, (answer,) in zip(QUESTIONS, respondent.answers(QUESTIONS), strict=True):
        assert answer == xunlian.chat(
            folder, question.messages, temperature=0, max_tokens=10, precision="fp32"
        )


@pytest.mark.parametrize(
    ("question_of", "row", "asked", "answer"),
    [
        (problem_question, {"prompt": "\n\ndef f(x):\r\n\t\"\"\"\n\tE\u0301 \"\"\"\n",
                            "entry_point": "f", "test": "assert f(1)",
                            "canonical_solution": "\treturn x"}, "prompt", "canonical_solution"),
        (math_question, {"question": " 1 + 1 = ?\n", "answer": "#### 2"}, "question", "answer"),
        (support_question, {"prompt": "Where is it? ", "completion": "There.\n"},
         "prompt", "completion"),
    ],
)  # fmt: skip
def test_a_chat_is_asked_with_the_tokens_it_was_trained_on(
    folder, model, question_of, row, asked, answer
):
    chat = load_chat(folder)
    talk = [{"role": "user", "content": row[asked]}, {"role": "assistant", "content": row[answer]}]
    (learned,) = chat.encode([chat.rendered(clean_conversation(talk, Counter()))])
    first = next(i for i, mark in enumerate(learned.marks) if mark & LEARNED)
    question = question_of(Record("here", row))
    assert Respondent(model, chat, GREEDY).prompts([question]) == [learned.ids[:first]]


def test_shots_are_earlier_turns_of_a_chat_and_earlier_texts_else(folder, model):
    shots = QUESTIONS[:2]
    said = [
        message
        for shot in shots
        for message in (*shot.messages, {"role": "assistant", "content": "42"})
    ]
    (answer,) = Respondent(model, load_chat(folder), GREEDY, shots).answers(QUESTIONS[3:])[0]
    assert answer == xunlian.chat(
        folder, [*said, *QUESTIONS[3].messages], temperature=0, max_tokens=10, precision="fp32"
    )
    text = "Question: How many?\nAnswer: 42\n\n问题：多少？\n答案：42\n\nQuestion: x\nAnswer:"
    (answer,) = Respondent(model, None, GREEDY, shots).answers(QUESTIONS[3:])[0]
    assert answer == model.generate(text, temperature=0, max_tokens=10)


def test_without_a_template_a_text_is_gone_on_with_until_a_stop(model):
    plain = Respondent(model, None, GREEDY).answers(QUESTIONS)
    stop = plain[0][0][3:5]
    for question, (answer,) in zip(QUESTIONS, plain, strict=True):
        assert answer == model.generate(question.text, temperature=0, max_tokens=10)
    stopped = Respondent(model, None, GREEDY).answers(QUESTIONS, stop=[stop])
    assert stopped[0][0] == plain[0][0].partition(stop)[0]
    own = Respondent(model, None, GREEDY.model_copy(update={"stop": (stop,)}))
    assert own.answers(QUESTIONS, stop=PLAIN_STOPS)[0] == stopped[0]


def test_an_answer_ends_where_the_context_is_full(folder, model):
    question = ask_plainly("long", "y" * 100, "42")
    room = 160 - len(model.loaded.tokenizer.encode(question.text))
    endless = GREEDY.model_copy(update={"max_tokens": 100})
    (answer,) = Respondent(model, None, endless).answers([question])[0]
    assert answer == model.generate(question.text, temperature=0, max_tokens=room)


def test_samples_differ_and_come_again_with_their_seed(model):
    sampled = Respondent(model, None, Decoding(temperature=1.0, max_tokens=10, seed=1))
    found = sampled.answers(QUESTIONS, samples=5)
    assert [len(each) for each in found] == [5] * 4 and len(set(found[0])) > 1
    assert sampled.answers(QUESTIONS, samples=5) == found
    assert sampled.answers(QUESTIONS[:1], samples=5) == found[:1], "neighbours do not matter"


def test_a_question_without_room_is_not_answered_and_none_at_all_is_refused(folder, model):
    long = ask_plainly("long", "y" * 200, "42")
    for chat in (None, load_chat(folder)):
        respondent = Respondent(model, chat, GREEDY)
        answers = respondent.answers([long, QUESTIONS[0]])
        assert answers[0] == [] and len(answers[1]) == 1
        with pytest.raises(InputError, match="No question fits: the model sees 160 tokens"):
            respondent.answers([long])


@torch.no_grad()
def likelihood(folder, prompt, choice):
    """By Transformers, one text at a time."""
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokens = torch.tensor([[*prompt, *choice]])
    log_p = model(tokens).logits[0].double().log_softmax(-1)
    places = range(len(prompt) - 1, tokens.shape[1] - 1)
    return sum(log_p[place, tokens[0, place + 1]].item() for place in places)


@pytest.mark.parametrize("in_chat", [False, True])
def test_the_likelihoods_of_choices_are_those_of_transformers(folder, model, in_chat, tmp_path):
    rows = write_rows(
        tmp_path / "rows.jsonl",
        {"question": "Which is it?", "choices": ["red", "the blue one", "x"], "answer": 1},
        {"question": "哪个？", "choices": ["红色的", "蓝"], "answer": "A"},
    )
    chat = load_chat(folder) if in_chat else None
    records = read_task([str(rows)], CorpusSettings())
    read = [read_choice(record) for record in records]
    grades = grade_choices(read, Respondent(model, chat, GREEDY), torch.float32)
    right = right_normalized = 0
    for choice, row in zip(read, grades.rows, strict=True):
        question = choice.question
        gap = "" if in_chat or row["expected"] == 0 else " "
        tokenizer = model.loaded.tokenizer
        prompt = chat.prompt(question.messages) if chat else tokenizer.encode(question.text)
        expected = [likelihood(folder, prompt, tokenizer.encode(gap + c)) for c in row["choices"]]
        assert row["log_likelihoods"] == pytest.approx(expected, abs=1e-4)
        right += expected.index(max(expected)) == row["expected"]
        by_length = [nats / len(c) for nats, c in zip(expected, row["choices"], strict=True)]
        right_normalized += by_length.index(max(by_length)) == row["expected"]
    assert grades.scores == {"accuracy": right / 2, "accuracy_normalized": right_normalized / 2}
    assert grades.baselines == {"chance": pytest.approx((1 / 3 + 1 / 2) / 2)}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"question": "?", "answer": "A"}, "it has no choices"),
        ({"question": "?", "choices": ["a"], "answer": 0}, "it has no choices"),
        ({"question": "?", "choices": ["a", " "], "answer": 0}, "one of its choices is empty"),
        ({"question": "?", "choices": ["a", "b"], "answer": "C"}, "'C', is none of the choices"),
        ({"question": "?", "choices": ["a", "b"], "answer": 2}, "'2', is none of the choices"),
        ({"choices": ["a", "b"], "answer": 0}, "has no field question, prompt or input"),
        ({"question": "?", "choices": ["a", "b"]}, "has no field answer, answerKey, label"),
    ],
)
def test_a_question_without_its_parts_is_refused(fields, words):
    with pytest.raises(InputError) as caught:
        choice_question(Record("'file', record 7", fields))
    assert str(caught.value).startswith("'file', record 7") and words in str(caught.value)
