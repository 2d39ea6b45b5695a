"""Many questions at once are answered as one at a time by the verbs of everyday."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import tokenizers
import torch
from made_reciting import write_rows
from made_run import byte_tokenizer, make_model

import xunlian
from xunlian.corpus.chat.clean import clean_conversation
from xunlian.decoding.model import prepare_language_model
from xunlian.errors import InputError
from xunlian.evaluation.tasks.asking import PLAIN_STOPS, Question, Respondent, ask_plainly
from xunlian.evaluation.tasks.choices import choice_question, grade_choices, read_choice
from xunlian.evaluation.tasks.maths import math_question
from xunlian.evaluation.tasks.programs import problem_question
from xunlian.evaluation.tasks.records import Record, read_task
from xunlian.evaluation.tasks.support import support_question
from xunlian.recipe.settings import Corpus as CorpusSettings
from xunlian.recipe.settings import Decoding
from xunlian.runs.load import load_run
from xunlian.tokenizer.chat import LEARNED, load_chat, make_chat
from xunlian.tokenizer.sides import Sides
from xunlian.tokenizer.tokenizer import wrap
from xunlian.tokenizer.train import train_tokenizer

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


def test_examples_that_do_not_fit_are_told(folder, model, capsys):
    chat = load_chat(folder)
    Respondent(model, chat, GREEDY, QUESTIONS[:1] * 2).prompts(QUESTIONS)
    assert "without their first turns or examples" not in capsys.readouterr().err
    Respondent(model, chat, GREEDY, QUESTIONS[:1] * 8).prompts(QUESTIONS)
    told = capsys.readouterr().err
    assert "4 of 4 questions are asked without their first turns or examples" in told
    assert "160 tokens" in told and told.count("\n") == 1


def test_turns_that_do_not_fit_are_told(folder, model, capsys):
    talk = [{"role": "user", "content": "y" * 140}, {"role": "assistant", "content": "z"}]
    asked = [Question(q.name, [*talk, *q.messages], q.text, q.answer) for q in QUESTIONS[:2]]
    respondent = Respondent(model, load_chat(folder), GREEDY)
    prompts = respondent.prompts([*asked, QUESTIONS[2]])
    assert "2 of 3 questions are asked without their first turns" in capsys.readouterr().err
    assert prompts == respondent.prompts(QUESTIONS[:3])


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


def spaced(way):
    """A tokenizer of characters that puts a space before every text, as SentencePiece's do."""
    letters = sorted(set("▁Question: Which?\nAnswer: red blue 问题：哪个？答案：红色蓝"))
    vocab = {letter: i for i, letter in enumerate(["</s>", *letters])}
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocab, merges=[]))
    if way == "prepend":
        backend.normalizer = tokenizers.normalizers.Sequence(
            [tokenizers.normalizers.Prepend("▁"), tokenizers.normalizers.Replace(" ", "▁")]
        )
    else:
        backend.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace("▁", "first", split=False)
    backend.add_special_tokens(["</s>"])
    return wrap(backend, "</s>")


@pytest.mark.parametrize("kind", ["prepend", "metaspace", "bpe", "unigram"])
def test_a_choice_has_the_tokens_that_it_has_behind_its_question(model, kind, monkeypatch):
    if kind in ("prepend", "metaspace"):
        tokenizer = spaced(kind)
    else:
        text = "red, blue and 红色和蓝色。\n" * 50
        tokenizer = train_tokenizer(iter([text]), kind, 300, shrink=True)
    scored = []

    def note(model, texts, dtype):
        scored.extend(texts)
        return np.zeros(len(texts))

    monkeypatch.setattr("xunlian.evaluation.tasks.choices._log_likelihoods", note)
    # The network is not that of these tokenizers, and is not asked.
    monkeypatch.setattr("xunlian.evaluation.tasks.asking.check_rows", lambda *_: None)
    items = [
        read_choice(Record("here", {"question": asked, "choices": choices, "answer": 0}))
        for asked, choices in (("Which?", ["red", "blue"]), ("哪个？", ["红色", "蓝"]))
    ]
    loaded = replace(model.loaded, tokenizers=Sides(tokenizer, tokenizer))
    respondent = Respondent(replace(model, loaded=loaded), None, GREEDY)
    grade_choices(items, respondent, torch.float32)
    asked = ["Question: Which?\nAnswer:"] * 2 + ["问题：哪个？\n答案："] * 2
    for text, end, found in zip(asked, [" red", " blue", "红色", "蓝"], scored, strict=True):
        tokens = tokenizer.encode_prompt(text + end)
        assert found == (tokens, len(tokens) - len(tokenizer.encode_prompt(text)))


@pytest.mark.parametrize(
    ("fields", "right"),
    [
        # MMLU's have numbers from 0, also where choices are numbers.
        ({"choices": ["8", "2", "24", "120"], "answer": 2}, 2),
        ({"choices": ["8", "2", "24", "120"], "answer": "2"}, 1),
        ({"choices": [8, 2, 24, 120], "answer": 24}, 2),
        ({"choices": ["True", "False"], "answer": True}, 0),
        ({"A": "O", "B": "A", "C": "B", "D": "AB", "answer": "B"}, 1),
        ({"A": "O", "B": "A", "C": "B", "D": "AB", "answer": "AB"}, 3),
        # Some of ARC's have digits for labels.
        ({"choices": {"text": [*"wxyz"], "label": [*"1234"]}, "answerKey": "3"}, 2),
        ({"choices": {"text": [*"wxyz"], "label": [*"1234"]}, "answerKey": "4"}, 3),
        ({"choices": {"text": [*"wxyz"], "label": [*"ABCD"]}, "answerKey": "B"}, 1),
        ({"choices": ["B", "A"], "answer": "A"}, 1),
    ],
)
def test_the_right_choice_is_named_by_its_label_its_number_its_text_or_a_letter(fields, right):
    assert read_choice(Record("here", {"question": "?", **fields})).right == right


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"question": "?", "answer": "A"}, "it has no choices"),
        ({"question": "?", "choices": ["a"], "answer": 0}, "it has no choices"),
        ({"question": "?", "choices": ["a", " "], "answer": 0}, "one of its choices is empty"),
        ({"question": "?", "choices": [{"text": "a"}, {"text": "b"}], "answer": 0}, "are no texts"),
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
