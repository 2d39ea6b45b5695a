"""Conversations in the forms of the wild, and what is wrong with some."""

from collections import Counter

import pytest
from made_chats import ASK, SAY, SYSTEM

from xunlian.corpus.chat.clean import clean_conversation
from xunlian.corpus.chat.formats import Broken, Unknown, conversations_of

KNOWN = {
    "OpenAI messages": [
        ({"messages": [SYSTEM, ASK, SAY]}, [SYSTEM, ASK, SAY]),
        ({"messages": [{**ASK, "content": [{"type": "text", "text": "Why?"}]}, SAY]}, [ASK, SAY]),
        ({"messages": [{**SYSTEM, "role": "developer"}, ASK, SAY]}, [SYSTEM, ASK, SAY]),
        (
            {"messages": [ASK, {"role": "assistant", "content": None,
                                "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]},
            [ASK, {"role": "assistant", "content": '{"name": "f", "arguments": "{}"}'}],
        ),
    ],
    "ShareGPT": [
        (
            {"system": "Be kind.", "conversations": [{"from": "human", "value": "Why?"},
                                                     {"from": "gpt", "value": "So."}]},
            [SYSTEM, ASK, SAY],
        ),
        (
            {"conversations": [{"from": "human", "value": "Why?"},
                               {"from": "function_call", "value": "f()"},
                               {"from": "observation", "value": "1"},
                               {"from": "gpt", "value": "So."}], "tools": "[f]"},
            [{"role": "system", "content": "[f]"}, ASK, {"role": "assistant", "content": "f()"},
             {"role": "tool", "content": "1"}, SAY],
        ),
    ],
    "Alpaca": [
        ({"instruction": "Why?", "input": "", "output": "So."}, [ASK, SAY]),
        (
            {"instruction": "Add", "input": "1 1", "output": "2", "history": [["Why?", "So."]]},
            [ASK, SAY, {"role": "user", "content": "Add\n\n1 1"},
             {"role": "assistant", "content": "2"}],
        ),
        ({"instruction": "Why?", "instances": [{"input": "", "output": "So."}]}, [ASK, SAY]),
    ],
    "prompt and completion": [
        ({"prompt": "Why?", "completion": "So.", "source": "x"}, [ASK, SAY]),
        ({"prompt": [SYSTEM, ASK], "completion": [SAY]}, [SYSTEM, ASK, SAY]),
    ],
    "question and answer": [({"question": "Why?", "answer": "So."}, [ASK, SAY])],
    "SQuAD": [
        (
            {"title": "x", "paragraphs": [{"context": "It is so.", "qas": [
                {"question": "Why?", "id": "1", "answers": [{"text": "So.", "answer_start": 6},
                                                            {"text": "so"}]}]}]},
            [{**ASK, "content": "It is so.\n\nWhy?"}, SAY],
        ),
        (
            {"context": "It is so.", "question": "Why?", "answers": {"text": ["So."]}},
            [{**ASK, "content": "It is so.\n\nWhy?"}, SAY],
        ),
    ],
    "HumanEval": [
        (
            {"prompt": 'import re\n\n\ndef f(x):\n    """Twice.\n    """\n', "entry_point": "f",
             "canonical_solution": "    return 2 * x\n", "test": "assert f(1) == 2"},
            [{**ASK, "content": 'import re\n\n\ndef f(x):\n    """Twice.\n    """\n'},
             {**SAY, "content": "import re\n\n\ndef f(x):\n    return 2 * x\n"}],
        ),
        (
            {"prompt": "def f(x):\n", "canonical_solution": "    return x"},
            [{**ASK, "content": "def f(x):\n"}, {**SAY, "content": "def f(x):\n    return x"}],
        ),
    ],
    "MBPP": [
        (
            {"text": "Why?", "code": "So.", "test_list": ["assert f(1)", "assert f(2)"]},
            [{**ASK, "content": "Why?\nassert f(1)\nassert f(2)"}, SAY],
        ),
    ],
    "input and golden": [({"input": "Why?", "golden": "So.", "grade": 1}, [ASK, SAY])],
    "dialogue list": [
        (["Why?", "So."], [ASK, SAY]),
        ([["Why?", "So."], ["Why?", "So."]], [ASK, SAY, ASK, SAY]),
        ({"messages": [{"message": "Why?", "attrs": []}, {"message": "So."}]}, [ASK, SAY]),
        (
            {"turns": [{"speaker": "USER", "utterance": "Why?"},
                       {"speaker": "SYSTEM", "utterance": "So."}]},
            [ASK, SAY],
        ),
        (
            {"dialog": [{"role": "usr", "text": "Why?"}, {"role": "sys", "text": "So."}]},
            [ASK, SAY],
        ),
        (
            {"conversation": [{"role": "客户", "text": "Why?"}, {"role": "客服", "text": "So."}]},
            [ASK, SAY],
        ),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "record", "wanted"),
    [(name, record, wanted) for name, cases in KNOWN.items() for record, wanted in cases],
)
def test_a_form_is_recognized(name, record, wanted):
    assert conversations_of(record) == (name, [wanted])


def test_every_question_on_a_passage_is_a_conversation_and_one_without_answer_is_told():
    asked = [{"question": "Why?", "answers": [{"text": "So."}]}, {"question": "When?",
             "is_impossible": True, "answers": []}]  # fmt: skip
    record = {"paragraphs": [{"context": "c", "qas": asked}, {"context": "d", "qas": asked[:1]}]}
    _, found = conversations_of(record)
    assert [turns[0]["content"] for turns in found] == ["c\n\nWhy?", "c\n\nWhen?", "d\n\nWhy?"]
    with pytest.raises(Broken, match="no answer to learn"):
        clean_conversation(found[1], Counter())


@pytest.mark.parametrize(
    "record", [{"text": "a"}, {"prompt": "a"}, {"messages": []}, {"turns": [{"x": 1}]}, "a", 3]
)
def test_what_has_no_known_form_is_not_guessed(record):
    with pytest.raises(Unknown):
        conversations_of(record)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"messages": [{"role": "alien", "content": "a"}]}, "turn 1 is of 'alien'"),
        ({"messages": [{"role": "user", "content": {"a": 1}}]}, "turn 1 is not text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "'image_url'"),
        ({"prompt": "a", "completion": ["x"]}, "completion is not text"),
        ({"paragraphs": [{"context": "a", "qas": [{"id": "1"}]}]}, "lacks its text, its question"),
        ({"paragraphs": ["a"]}, "lacks its text"),
        (
            {"messages": [ASK, {**SAY, "content": None, "tool_calls": "[]"}]},
            "turn 2 has tool_calls that are no list",
        ),
    ],
)
def test_a_known_form_with_a_mistake_says_which(record, said):
    with pytest.raises(Broken, match=said):
        conversations_of(record)


@pytest.mark.parametrize(
    ("turns", "said"),
    [
        ([ASK, ASK, SAY], "turn 2 is of user after user, where assistant speaks"),
        ([SAY, ASK], "turn 1 is of assistant at the beginning, where system or user speaks"),
        ([ASK, SYSTEM, SAY], "turn 2 is of system after user"),
        ([SYSTEM, SAY], "turn 2 is of assistant after system"),
        ([ASK, SAY, SAY], "turn 3 is of assistant after assistant"),
        ([ASK, {"role": "assistant", "content": " \n\u3000"}], "turn 2, of assistant, is empty"),
        ([{"role": "user", "content": ""}, SAY], "turn 1, of user, is empty"),
        ([ASK], "no turn is the assistant's"),
        ([{"role": "user", "content": "\ud83d"}, SAY], "turn 1 holds half a character"),
    ],
)
def test_turns_out_of_order_and_empty_ones_are_broken(turns, said):
    with pytest.raises(Broken, match=said):
        clean_conversation(turns, Counter())


def test_a_log_of_thousands_of_turns_is_to_be_divided():
    with pytest.raises(Broken, match=r"10,000 turns, more than 5,000"):
        clean_conversation([ASK, SAY] * 5000, Counter())


def test_light_cleaning_is_counted():
    changes = Counter()
    turns = [
        {"role": "system", "content": ""},
        {"role": "user", "content": " Why?\r\n"},
        {"role": "assistant", "content": "So.\x00<|endoftext|>"},
        {"role": "user", "content": "And?"},
    ]
    assert clean_conversation(turns, changes) == [ASK, SAY]
    assert changes == {"empty_systems": 1, "line_ends": 1, "control_characters": 1,
                       "trimmed_turns": 2, "unanswered_turns": 1}  # fmt: skip
