"""Files of preferences in the forms of the wild, and what is wrong with some."""

import json

import pytest
from conftest import SAMPLES, shared_data

import xunlian
from xunlian.corpus.chat.formats import Broken, Unknown
from xunlian.corpus.chat.preference import clean_sides, preferences_of
from xunlian.errors import InputError
from xunlian.shards.corpus import open_corpus
from xunlian.tokenizer.chat import CUT, LEARNED, load_chat

ASK, GOOD, BAD, SYSTEM = (
    {"role": role, "content": content}
    for role, content in (
        ("user", "Why?"),
        ("assistant", "So."),
        ("assistant", "No."),
        ("system", "Be kind."),
    )
)
AGAIN = {"role": "user", "content": "And now?"}
CHOSEN, REJECTED = [ASK, GOOD], [ASK, BAD]
KNOWN = {
    "prompt, chosen and rejected": [
        ({"prompt": "Why?", "chosen": "So.", "rejected": "No."}, CHOSEN, REJECTED),
        ({"prompt": [ASK], "chosen": [GOOD], "rejected": [BAD]}, CHOSEN, REJECTED),
        ({"prompt": [ASK], "chosen": GOOD, "rejected": "No."}, CHOSEN, REJECTED),
        (
            {"prompt": "\n\nHuman: Why?\n\nAssistant:", "chosen": " So.", "rejected": " No."},
            [{**ASK, "content": " Why?"}, {**GOOD, "content": " So."}],
            [{**ASK, "content": " Why?"}, {**BAD, "content": " No."}],
        ),
    ],
    "question, chosen and rejected": [
        (
            {"system": "Be kind.", "question": "Why?", "chosen": "So.", "rejected": "No."},
            [SYSTEM, *CHOSEN],
            [SYSTEM, *REJECTED],
        )
    ],
    "instruction, chosen and rejected": [
        (
            {"instruction": "Add", "input": "1 1", "chosen": "2", "rejected": "3",
             "history": [["Why?", "So."]]},
            [*CHOSEN, {**ASK, "content": "Add\n\n1 1"}, {**GOOD, "content": "2"}],
            [*CHOSEN, {**ASK, "content": "Add\n\n1 1"}, {**GOOD, "content": "3"}],
        )
    ],
    "conversations, chosen and rejected": [
        (
            {"conversations": [{"from": "human", "value": "Why?"}],
             "chosen": {"from": "gpt", "value": "So."},
             "rejected": {"from": "gpt", "value": "No."}},
            CHOSEN,
            REJECTED,
        )
    ],
    "chosen and rejected messages": [
        ({"chosen": CHOSEN, "rejected": REJECTED}, CHOSEN, REJECTED),
        ({"prompt": "Why?", "chosen": CHOSEN, "rejected": REJECTED, "score": 1}, CHOSEN, REJECTED),
        (
            {"chosen": [SYSTEM, *CHOSEN, AGAIN, GOOD], "rejected": [SYSTEM, *CHOSEN, AGAIN, BAD]},
            [SYSTEM, *CHOSEN, AGAIN, GOOD],
            [SYSTEM, *CHOSEN, AGAIN, BAD],
        ),
    ],
    "dialogues of Human and Assistant": [
        (
            {"chosen": "\n\nHuman: Why?\n\nAssistant: So: Human: said so.",
             "rejected": "\n\nHuman: Why?\n\nAssistant: No.\n\nBye."},
            [{**ASK, "content": " Why?"}, {**GOOD, "content": " So: Human: said so."}],
            [{**ASK, "content": " Why?"}, {**BAD, "content": " No.\n\nBye."}],
        )
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "record", "chosen", "rejected"),
    [(name, *case) for name, cases in KNOWN.items() for case in cases],
)
def test_a_form_is_recognized(name, record, chosen, rejected):
    assert preferences_of(record) == (name, [(chosen, rejected)])


@pytest.mark.parametrize(
    "record",
    [
        "a",
        {"prompt": "a", "completion": "b"},
        {"prompt": "a", "chosen": "b"},
        {"chosen": "a", "rejected": "b"},
        {"prompt": "a", "chosen": 0, "rejected": 1},
    ],
)
def test_what_has_no_known_form_is_not_guessed(record):
    with pytest.raises(Unknown):
        preferences_of(record)


EMPTY, SILENT = {**BAD, "content": " \n"}, {**BAD, "content": ""}


@pytest.mark.parametrize(
    ("chosen", "rejected", "said"),
    [
        (CHOSEN, [ASK, {**GOOD, "content": " So. "}], "its two sides are equal"),
        (CHOSEN, [ASK, EMPTY], "rejected: turn 2, of assistant, is empty"),
        ([ASK, SILENT], REJECTED, "chosen: turn 2, of assistant, is empty"),
        ([ASK, ASK, GOOD], [ASK, ASK, BAD], "chosen: turn 2 is of user after user"),
        ([ASK, ASK], REJECTED, "chosen: turn 2 is of user after user"),
        ([ASK], REJECTED, "chosen: no turn is the assistant's"),
        (CHOSEN, [*CHOSEN, AGAIN, BAD], "one side is the beginning of the other"),
        (CHOSEN, [AGAIN, BAD], "its sides differ in turn 1, where the assistant does not speak"),
    ],
)
def test_a_preference_that_teaches_nothing_says_why(chosen, rejected, said):
    from collections import Counter

    with pytest.raises(Broken, match=said):
        clean_sides((chosen, rejected), Counter())


def lines(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


def record(number, **changes):
    return {"prompt": f"Why {number}?", "chosen": "So.", "rejected": "No."} | changes


def test_broken_preferences_stop_with_their_line_or_are_skipped_and_counted(tmp_path):
    good = [record(number) for number in range(20)]
    path = lines(tmp_path / "p.jsonl", *good, record(1, rejected="So."), record(2, chosen=" "))
    with pytest.raises(InputError) as error:
        xunlian.prepare(path, preference=True, out=tmp_path / "corpus")
    assert "has 2 broken lines (line 21, 22; the first: its two sides are equal)" in str(
        error.value
    )
    assert "\n" not in str(error.value) and not (tmp_path / "corpus").exists()
    corpus = xunlian.prepare(path, preference=True, out=tmp_path / "corpus", on_error="skip")
    assert corpus.card["dropped"]["broken_records"] == 2
    splits = [corpus.split_card(split)["documents"] for split in ("train", "val")]
    assert sum(splits) == 20 and splits[1] == 1


def test_answers_are_learned_and_only_where_the_sides_differ(tmp_path):
    first, second = [SYSTEM, ASK, GOOD, AGAIN], [{**AGAIN, "content": "Then?"}, BAD]
    path = lines(
        tmp_path / "p.jsonl",
        {"chosen": [*first, GOOD, *second], "rejected": [*first, BAD]},
        *(record(number) for number in range(5)),
    )
    corpus = xunlian.prepare(path, preference=True, out=tmp_path / "corpus", val=0)
    chat = load_chat(corpus.path)
    read = {}
    for side in ("chosen", "rejected"):
        tokens, marks = (corpus.stream("train", f"{side}{end}") for end in ("", ".mask"))
        start, stop = tokens.bounds(0, 1)
        ids, mark = tokens.read(start, stop), marks.read(start, stop)
        learned = chat.tokenizer.backend.decode(
            ids[(mark & LEARNED) > 0].tolist(), skip_special_tokens=False
        )
        prompt = int((mark & LEARNED).argmax())
        read[side] = learned, ids[:prompt].tolist(), mark[:prompt].tolist(), mark[prompt:]
    assert read["chosen"][0] == "So.<|im_end|>No.<|im_end|>"
    assert read["rejected"][0] == "No.<|im_end|>"
    assert read["chosen"][1:3] == read["rejected"][1:3]
    assert sum(mark == CUT for mark in read["chosen"][2]) == 2  # both turns of the user
    assert not any((mark & CUT).any() for *_, mark in read.values())


def test_a_corpus_of_preferences_is_the_same_each_time_and_opens_again(tmp_path):
    made = [
        xunlian.prepare(SAMPLES / "preferences.zh.jsonl", preference=True, out=tmp_path / name)
        for name in ("one", "two")
    ]
    files = sorted(path.name for path in made[0].path.iterdir())
    assert "train-00000.rejected.mask.bin" in files
    for name in files:
        assert (made[0].path / name).read_bytes() == (made[1].path / name).read_bytes()
    corpus = open_corpus(made[0].path)
    corpus.verify()
    assert corpus.task == "preference"
    sides = sum(corpus.tokens("train", side) for side in ("chosen", "rejected"))
    assert sides == corpus.tokens("train") == sum(
        len(corpus.stream("train", f"{side}.mask")) for side in ("chosen", "rejected")
    )  # fmt: skip


def test_preferences_are_shown_as_they_were_understood(capsys, tmp_path):
    xunlian.prepare(
        lines(tmp_path / "p.jsonl", *map(record, range(5))),
        preference=True, out=tmp_path / "corpus", val=0, show=1,
    )  # fmt: skip
    shown = capsys.readouterr().out
    assert "prompt, chosen and rejected: 5 records" in shown
    chosen, rejected = shown.split("── rejected")
    assert "⟦So.<|im_end|>⟧" in chosen and "⟦No.<|im_end|>⟧" in rejected
    assert shown.count("user       Why 0?") == 1


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ({"text": "a"}, {"preference": True}, "has no preferences in a known form: its fields are"),
        (record(1), {"chat": True}, "rejected answers are prepared with --preference"),
        (record(1), {"preference": True, "chat": True}, None),
    ],
)
def test_the_wrong_option_gets_one_clear_line(tmp_path, content, options, said):
    path = lines(tmp_path / "p.jsonl", content)
    if said is None:
        from xunlian.cli import main

        status = main(["prepare", str(path), "--chat", "--preference", "--out", "x"])
        assert status == 2
        return
    with pytest.raises(InputError, match=said) as error:
        xunlian.prepare(path, out=tmp_path / "corpus", **options)
    assert "\n" not in str(error.value) and not (tmp_path / "corpus").exists()


@pytest.mark.parametrize(
    ("name", "form", "kept", "broken"),
    [
        ("hh-rlhf_harmless-base.jsonl.gz", "dialogues of Human and Assistant", 1840, 11),
        ("llamafactory/dpo_zh_demo.json.gz", "conversations, chosen and rejected", 289, 0),
    ],
)
def test_files_of_the_wild_are_read(tmp_path, name, form, kept, broken):
    path, options = shared_data(f"instruct/{name}"), {"tokenizer": "byte", "on_error": "skip"}
    corpus = xunlian.prepare(path, preference=True, out=tmp_path / "corpus", **options)
    (source,) = corpus.card["sources"]
    assert list(source["forms"]) == [form]
    assert sum(corpus.split_card(split)["documents"] for split in ("train", "val")) == kept
    assert corpus.card["dropped"]["broken_records"] == broken
