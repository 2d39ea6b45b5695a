"""Files of conversations in the forms of the wild, and what is wrong with some."""

import csv
import gzip
import hashlib
import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT

import xunlian
from xunlian.corpus.chat.build import build_chat_corpus
from xunlian.corpus.chat.clean import clean_conversation
from xunlian.corpus.chat.formats import Broken, Unknown, conversations_of
from xunlian.corpus.chat.read import CHAT_FORMATS, read_chat_records
from xunlian.corpus.reading.sources import expand_source
from xunlian.corpus.reading.trouble import ignore
from xunlian.errors import InputError
from xunlian.recipe.settings import Corpus as CorpusSettings
from xunlian.recipe.settings import Recipe
from xunlian.tokenizer.chat import LEARNED, load_chat

DATA = ROOT.parent / "shared" / "data"

ASK, SAY = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}
SYSTEM = {"role": "system", "content": "Be kind."}

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
    from collections import Counter

    with pytest.raises(Broken, match=said):
        clean_conversation(turns, Counter())


def test_light_cleaning_is_counted():
    from collections import Counter

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


RECORDS = [{"messages": [{**ASK, "content": f"Why {i}? 为什么"}, SAY]} for i in range(50)]


def written(folder, name, records=RECORDS):
    path = folder / name
    if name.endswith((".parquet",)):
        pq.write_table(pa.Table.from_pylist(records), path)
    elif name.endswith(".jsonl"):
        path.write_text("".join(json.dumps(r) + "\n" for r in records))
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress(json.dumps(records, ensure_ascii=False).encode()))
    elif name.startswith("named"):
        path.write_text(json.dumps({str(i): r for i, r in enumerate(records)}, indent=2))
    elif name.startswith("inner"):
        path.write_text(json.dumps({"version": 1, "data": records}))
    else:
        path.write_text(json.dumps(records, indent=1))
    return path


def records_of(path):
    (source,) = expand_source(str(path), CHAT_FORMATS)
    from collections import Counter

    return [r for _, r in read_chat_records(source, CorpusSettings(), Counter(), ignore)]


@pytest.mark.parametrize(
    "name", ["a.json", "a.jsonl", "a.json.gz", "named.json", "inner.json", "a.parquet"]
)
def test_a_file_gives_its_records_whatever_its_form(tmp_path, name):
    assert records_of(written(tmp_path, name)) == RECORDS


def test_a_large_json_is_read_piece_by_piece(tmp_path, monkeypatch):
    import xunlian.corpus.chat.read as read

    records = [{"prompt": str(i) * 5000, "completion": i} for i in range(300)]
    path = written(tmp_path, "large.json", records)
    monkeypatch.setattr(read._Text, "_more", watched := watching(read._Text._more))
    assert records_of(path) == records
    assert watched.largest < 2_500_000 < path.stat().st_size


def watching(more):
    def watched(self, amount=1):
        found = more(self, amount)
        watched.largest = max(watched.largest, len(self._text))
        return found

    watched.largest = 0
    return watched


def test_columns_of_a_table_are_fields(tmp_path):
    path = tmp_path / "a.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["id", "instruction", "response"], ["1", "Why,\nnow?", 'So "x".']])
    assert records_of(path) == [{"id": "1", "instruction": "Why,\nnow?", "response": 'So "x".'}]


@pytest.mark.parametrize("text", ["[{}, ", '{"a": }', "[1 2]", "nonsense", '[{"a":1}]\n[{"a":1}]'])
def test_a_damaged_json_is_named(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=r"a.json"):
        records_of(tmp_path / "a.json")


def prepare(path, out, **options):
    return xunlian.prepare(path, chat=True, out=out, **options)


def test_a_corpus_holds_each_conversation_as_the_template_writes_it(tmp_path):
    corpus = prepare(written(tmp_path, "a.jsonl"), tmp_path / "out", val=0.1)
    chat = load_chat(corpus.path)
    found = {"train": [], "val": []}
    for split, texts in found.items():
        marks = corpus.stream(split, "mask")
        for start, stop in corpus.stream(split).spans():
            ids = corpus.stream(split).read(start, stop)
            texts.append(chat.tokenizer.backend.decode(ids, skip_special_tokens=False))
            learned = ids[(marks.read(start, stop) & LEARNED) > 0]
            assert chat.tokenizer.backend.decode(learned, skip_special_tokens=False) == (
                "So.<|im_end|>"
            )
    wanted = [chat.rendered(r["messages"]).text for r in RECORDS]
    assert sorted(found["train"] + found["val"]) == sorted(wanted)
    assert len(found["val"]) == 5
    assert corpus.card["sources"][0]["forms"] == {"OpenAI messages": 50}


def test_the_same_input_gives_the_same_bytes(tmp_path):
    path = written(tmp_path, "a.jsonl")
    first, second = (prepare(path, tmp_path / name, val=0.1).path for name in ("one", "two"))
    digests = [
        {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
        for folder in (first, second)
    ]
    assert digests[0] == digests[1] and "train-00000.mask.bin" in digests[0]


def test_shards_of_tokens_and_marks_break_at_the_same_conversation(tmp_path):
    recipe = Recipe.model_validate(
        {"task": "chat", "corpus": {"sources": [str(written(tmp_path, "a.jsonl"))], "val": "0"}}
    )
    corpus = build_chat_corpus(recipe, tmp_path / "out", shard_tokens=200)
    tokens, marks = corpus.stream("train"), corpus.stream("train", "mask")
    assert len(tokens.shards) == len(marks.shards) > 3
    assert list(tokens.spans()) == list(marks.spans())


def test_copies_are_left_out_and_counted(tmp_path):
    corpus = prepare(written(tmp_path, "a.jsonl", RECORDS + RECORDS[:7]), tmp_path / "out", val=0)
    assert corpus.split_card("train")["documents"] == 50
    assert corpus.card["dropped"]["duplicates"] == 7


def test_broken_conversations_can_be_skipped_and_are_counted(tmp_path):
    bad = [{"messages": [ASK, ASK]}, {"messages": [SAY]}, {"x": 1}, {"messages": [ASK]}]
    path = written(tmp_path, "a.jsonl", RECORDS + bad)
    corpus = prepare(path, tmp_path / "out", val=0, on_error="skip")
    assert corpus.split_card("train")["documents"] == 50
    assert corpus.card["dropped"]["broken_records"] == 4


LINE = {"messages": [ASK, SAY]}


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([LINE, {"messages": [ASK, ASK, SAY]}],
         r"a.jsonl' has 1 broken line \(line 2; the first: turn 2 is of user after user"),
        ([LINE, {"messages": [ASK, {**SAY, "content": ""}]}], r"turn 2, of assistant, is empty"),
        ([{"text": "a", "title": "b"}],
         r"no conversations in a known form: its fields are text, title. Known are messages"),
        ([{"messages": [ASK]}, {"messages": [{**ASK, "content": "x"}]}],
         r"has no answers: no turn of its 2 conversations is the assistant's.*fields messages"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, records, said):
    path = written(tmp_path, "a.jsonl", records)
    with pytest.raises(InputError, match=said) as error:
        prepare(path, tmp_path / "out", val=0)
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]


def test_other_ways_to_be_wrong(tmp_path):
    path = written(tmp_path, "a.jsonl")
    (tmp_path / "t.jinja").write_text("{{ raise_exception('only poems') }}")
    for options, said in (
        ({"template": tmp_path / "t.jinja"}, "the chat template does not take it: only poems"),
        ({"template": "nothing"}, "no chat template 'nothing'"),
        ({"engine": "ray"}, "--engine is for text; conversations are prepared"),
        ({"tokenizer": "nothing"}, "Unknown tokenizer 'nothing'"),
        ({"overrides": ["tokenizer.separate=true"]}, "separate = true is for pairs"),
    ):
        with pytest.raises(InputError, match=said):
            prepare(path, tmp_path / "out", val=0, **options)
    with pytest.raises(InputError, match=r"no file of conversations"):
        (tmp_path / "a.txt").write_text("a")
        prepare(tmp_path / "a.txt", tmp_path / "out")
    with pytest.raises(InputError, match=r"add --chat"):
        xunlian.prepare(path, out=tmp_path / "out", template="chatml")


def test_a_template_that_does_not_say_where_an_answer_ends_is_warned_of(tmp_path, capsys):
    (tmp_path / "t.jinja").write_text(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    )
    corpus = prepare(
        written(tmp_path, "a.jsonl"), tmp_path / "out", val=0, template=tmp_path / "t.jinja"
    )
    assert corpus.turn_end_id is None
    assert "will not know when to stop" in " ".join(capsys.readouterr().err.split())


def test_what_was_understood_is_shown(tmp_path, capsys):
    prepare(written(tmp_path, "a.jsonl"), tmp_path / "out", val=0, show=2)
    shown = capsys.readouterr().out
    assert "a.jsonl: OpenAI messages: 50 records" in shown
    assert "user       Why 0? 为什么" in shown and "assistant  So." in shown
    assert shown.count("⟦So.<|im_end|>⟧") == 2


def test_a_dry_run_writes_nothing(tmp_path, capsys):
    from xunlian.cli import main

    path = written(tmp_path, "a.jsonl")
    assert main(["prepare", str(path), "--chat", "--val", "0", "--dry-run", "--show", "1"]) == 0
    assert "⟦So.<|im_end|>⟧" in capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize(
    ("name", "form", "count"),
    [
        ("dialogue/kdconv/film_dev.json.gz", "dialogue list", 150),
        ("dialogue/sgd/train/dialogues_001.json.gz", "dialogue list", 128),
        ("dialogue/bitext/customer_support.csv.gz", "instruction and response", 3928),
        ("instruct/llamafactory/glaive_toolcall_zh_demo.json.gz", "ShareGPT", 300),
        ("instruct/self_instruct_seed_tasks.jsonl", "Alpaca", 175),
        ("education/cmath/cmath_dev.jsonl", "input and golden", 600),
    ],
)
def test_data_sets_of_the_wild_are_understood(name, form, count):
    from collections import Counter

    if not (DATA / name).is_file():
        pytest.skip(f"needs ../shared/data/{name}")
    forms = Counter()
    for record in records_of(DATA / name):
        found, conversations = conversations_of(record)
        forms[found] += len(conversations)
        for conversation in conversations:
            clean_conversation(conversation, Counter())
    assert forms == {form: count}
