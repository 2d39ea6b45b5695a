"""Corpora of conversations: what they hold, what is left out, and what is refused."""

import hashlib

import pytest
from made_chats import ASK, RECORDS, SAY, written

import xunlian
from xunlian.cli import main
from xunlian.corpus.chat.build import build_chat_corpus
from xunlian.errors import InputError
from xunlian.recipe.settings import Recipe
from xunlian.tokenizer.chat import LEARNED, load_chat


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


def test_what_is_validated_on_is_not_trained_on(tmp_path):
    val = written(tmp_path, "val.jsonl", RECORDS[:7])
    corpus = prepare(written(tmp_path, "a.jsonl"), tmp_path / "out", val=val)
    assert [corpus.split_card(split)["documents"] for split in ("train", "val")] == [43, 7]
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


def test_both_readings_take_the_template_of_a_tokenizer_of_the_hub(tmp_path, monkeypatch):
    (tmp_path / "t.jinja").write_text(
        "{% for m in messages %}"
        "{% if 'Why 7?' in m.content %}{{ raise_exception('no') }}{% endif %}"
        "{{ m.role }}: {{ m.content }}<|end|>{% endfor %}"
    )
    path = written(tmp_path, "a.jsonl")
    options = {"val": 0, "on_error": "skip"}
    fetched = prepare(path, tmp_path / "fetched", template=tmp_path / "t.jinja", **options).path
    monkeypatch.setattr("xunlian.corpus.vocabulary.local_folder", lambda name, weights: fetched)
    corpus = prepare(path, tmp_path / "out", tokenizer="hf:some/model", **options)
    # A first reading in chatml would take the conversation that the second refuses.
    assert corpus.card["dropped"] == {"duplicates": 0, "broken_records": 1}
    assert corpus.split_card("train")["documents"] == 49


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
    path = written(tmp_path, "a.jsonl")
    assert main(["prepare", str(path), "--chat", "--val", "0", "--dry-run", "--show", "1"]) == 0
    assert "⟦So.<|im_end|>⟧" in capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]
