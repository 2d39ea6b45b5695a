"""Files of conversations give their records, whatever their form."""

import csv
from collections import Counter

import pytest
from conftest import ROOT
from made_chats import RECORDS, written

import xunlian.corpus.chat.read as read
from xunlian.corpus.chat.clean import clean_conversation
from xunlian.corpus.chat.formats import conversations_of
from xunlian.corpus.chat.read import CHAT_FORMATS, read_chat_records
from xunlian.corpus.reading.sources import expand_source
from xunlian.corpus.reading.trouble import ignore
from xunlian.errors import InputError
from xunlian.recipe.settings import Corpus

DATA = ROOT.parent / "shared" / "data"


def records_of(path):
    (source,) = expand_source(str(path), CHAT_FORMATS)
    return [r for _, r in read_chat_records(source, Corpus(), Counter(), ignore)]


@pytest.mark.parametrize(
    "name", ["a.json", "a.jsonl", "a.json.gz", "named.json", "inner.json", "a.parquet"]
)
def test_a_file_gives_its_records_whatever_its_form(tmp_path, name):
    assert records_of(written(tmp_path, name)) == RECORDS


def test_a_large_json_is_read_piece_by_piece(tmp_path, monkeypatch):
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
    if not (DATA / name).is_file():
        pytest.skip(f"needs ../shared/data/{name}")
    forms = Counter()
    for record in records_of(DATA / name):
        found, conversations = conversations_of(record)
        forms[found] += len(conversations)
        for conversation in conversations:
            clean_conversation(conversation, Counter())
    assert forms == {form: count}
