"""Files of conversations give their records, whatever their form."""

import csv
from collections import Counter

import pytest
from conftest import shared_data
from made_chats import ASK, RECORDS, SAY, written

import xunlian.corpus.chat.read as read
from xunlian.corpus.chat.clean import clean_conversation
from xunlian.corpus.chat.formats import conversations_of
from xunlian.corpus.chat.read import CHAT_FORMATS, read_chat_records
from xunlian.corpus.reading.sources import expand_source
from xunlian.corpus.reading.trouble import Limits, ignore
from xunlian.errors import InputError
from xunlian.recipe.settings import Corpus


def records_of(path, counts=None, **settings):
    (source,) = expand_source(str(path), CHAT_FORMATS)
    counts = Counter() if counts is None else counts
    return [r for _, r in read_chat_records(source, Corpus(**settings), counts, ignore)]


@pytest.mark.parametrize(
    "name", ["a.json", "a.jsonl", "a.json.gz", "named.json", "inner.json", "a.parquet"]
)
def test_a_file_gives_its_records_whatever_its_form(tmp_path, name):
    assert records_of(written(tmp_path, name)) == RECORDS


LARGE = [{"prompt": str(i) * 5000, "completion": i} for i in range(300)]


@pytest.mark.parametrize("name", ["large.json", "inner.json"])
def test_a_large_json_is_read_piece_by_piece(tmp_path, monkeypatch, name):
    path = written(tmp_path, name, LARGE)
    monkeypatch.setattr(read._Text, "_more", watched := watching(read._Text._more))
    assert records_of(path) == LARGE
    assert watched.largest < 2_500_000 < path.stat().st_size


def watching(more):
    def watched(self, amount=1):
        found = more(self, amount)
        watched.largest = max(watched.largest, len(self._text))
        return found

    watched.largest = 0
    return watched


def test_a_list_under_a_key_may_be_longer_than_a_record_may_be(tmp_path, monkeypatch):
    path = written(tmp_path, "inner.json", LARGE)
    monkeypatch.setattr(read, "LIMITS", Limits(record=100_000))
    assert records_of(path) == LARGE


def test_all_lists_of_a_json_are_read(tmp_path):
    lists = {"train": RECORDS[:3], "empty": [], "validation": RECORDS[3:]}
    assert records_of(written(tmp_path, "lists.json", lists)) == RECORDS


def test_tools_beside_messages_stay_with_their_record(tmp_path):
    record = {"messages": [ASK, SAY], "tools": [{"name": "look up"}]}
    assert records_of(written(tmp_path, "one.json", record)) == [record]


def test_columns_of_a_table_are_fields(tmp_path):
    path = tmp_path / "a.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["id", "instruction", "response"], ["1", "Why,\nnow?", 'So "x".']])
    assert records_of(path) == [{"id": "1", "instruction": "Why,\nnow?", "response": 'So "x".'}]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_row_with_too_many_fields_is_broken_and_not_cut(tmp_path, name):
    text = "question,answer\nHi,Hello, you\nWhy?,So.\n"
    path = tmp_path / name
    path.write_text(text if name == "a.csv" else text.replace(",", "\t"))
    said = rf"{name}' has 1 broken line \(line 2; the first: 3 fields, not 2"
    with pytest.raises(InputError, match=said):
        records_of(path)
    counts = Counter()
    assert records_of(path, counts, on_error="skip") == [{"question": "Why?", "answer": "So."}]
    assert counts == {"broken_records": 1}


@pytest.mark.parametrize("last", ["3,ok", '3,"ok"'])
def test_an_unbalanced_quote_is_an_error_and_swallows_no_row(tmp_path, last):
    (tmp_path / "a.csv").write_text(f'q,a\n1,"He said\n2,fine\n{last}\n')
    with pytest.raises(InputError, match=r"a\.csv' has 3 broken lines \(line 2, 3, 4; the first: "):
        records_of(tmp_path / "a.csv")


def test_what_an_unbalanced_quote_takes_in_is_set_aside(tmp_path):
    (tmp_path / "a.csv").write_text('q,a\n0,before\n1,"He said\n2,"fine"\n3,after\n')
    counts = Counter()
    found = records_of(tmp_path / "a.csv", counts, on_error="skip")
    assert found == [{"q": "0", "a": "before"}, {"q": "3", "a": "after"}]
    assert counts == {"broken_records": 2}


@pytest.mark.parametrize("text", ["[{}, ", '{"a": }', "[1 2]", "nonsense", '[{"a":1}]\n[{"a":1}]'])
def test_a_damaged_json_is_named(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=r"a.json"):
        records_of(tmp_path / "a.json")


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
    forms = Counter()
    for record in records_of(shared_data(name)):
        found, conversations = conversations_of(record)
        forms[found] += len(conversations)
        for conversation in conversations:
            clean_conversation(conversation, Counter())
    assert forms == {form: count}
