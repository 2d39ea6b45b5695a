"""Rated conversations: what is learned of them, and what is wrong with some."""

import json

import pytest

import xunlian
from xunlian.cli import main
from xunlian.errors import InputError
from xunlian.shards.corpus import open_corpus
from xunlian.tokenizer.chat import CUT, LEARNED, load_chat
from xunlian.tokenizer.ratings import RATINGS, attribute_ids, rating_ids

ASK, SAY = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}
TALK = [ASK, SAY, {"role": "user", "content": "你好吗？"}, {"role": "assistant", "content": "很好"}]


def made(tmp_path, *records, name="chats.jsonl", **options):
    path = tmp_path / name
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    options = {"tokenizer": "byte", "val": "0", "chat": True} | options
    return xunlian.prepare(path, out=tmp_path / f"{name}-corpus", **options)


def sequences(corpus, split="train"):
    """(text with special tokens, what of it is learned, its marks) of every document."""
    chat = load_chat(corpus.path)
    tokens, marks = corpus.stream(split), corpus.stream(split, "mask")
    found = []
    for start, stop in tokens.spans():
        ids, said = tokens.read(start, stop).tolist(), marks.read(start, stop).tolist()
        text = chat.tokenizer.backend.decode(ids, skip_special_tokens=False)
        learned = [i for i, mark in zip(ids, said, strict=True) if mark & LEARNED]
        learned = chat.tokenizer.backend.decode(learned, skip_special_tokens=False)
        found.append((text, learned, said))
    return found


def test_each_rating_follows_the_conversation_and_alone_is_learned(tmp_path):
    corpus = made(
        tmp_path, {"messages": TALK, "ratings": {"safe": 0, "sensible": True, "specific": None}}
    )
    (sensible, safe), plain = (
        sequences(corpus),
        sequences(made(tmp_path, {"messages": TALK}, name="p.jsonl"))[0],
    )
    for (text, learned, marks), token, rating in (
        (sensible, "<|sensible|>", "<|rating_1|>"),
        (safe, "<|safe|>", "<|rating_0|>"),
    ):
        assert text == plain[0] + token + rating
        assert learned == rating
        assert [mark & CUT for mark in marks[:-2]] == [mark & CUT for mark in plain[2]]
    assert corpus.split_card("train")["ratings"] == {"sensible": [0, 1], "safe": [1, 0]}
    assert corpus.split_card("train")["documents"] == 2


def test_conversations_without_ratings_beside_them_teach_their_answers(tmp_path):
    corpus = made(
        tmp_path, {"messages": TALK, "ratings": {"safe": 1}}, {"messages": TALK},
        {"messages": TALK, "ratings": {"safe": 1}}, {"messages": TALK, "ratings": [5, 4]},
    )  # fmt: skip
    assert [learned for _, learned, _ in sequences(corpus)] == [
        "<|rating_1|>",
        "So.<|im_end|>很好<|im_end|>",
    ]
    dropped = json.loads((corpus.path / "corpus.json").read_text())["dropped"]
    assert dropped["duplicates"] == 2  # the same rating again, and a list that is no rating


def test_the_tokenizer_gets_the_tokens_of_what_was_rated_and_no_others(tmp_path):
    rated = load_chat(made(tmp_path, {"messages": TALK, "ratings": {"safe": 1}}).path).tokenizer
    assert list(attribute_ids(rated)) == ["safe"] and rating_ids(rated)
    plain = load_chat(made(tmp_path, {"messages": TALK}, name="p.jsonl").path).tokenizer
    assert not attribute_ids(plain) and rating_ids(plain) is None
    assert rated.vocab_size == plain.vocab_size + 3
    more = made(
        tmp_path, {"messages": TALK, "ratings": {"safe": 1, "specific": 1}}, name="m.jsonl",
        tokenizer=str(tmp_path / "chats.jsonl-corpus"),
    )  # fmt: skip
    both = attribute_ids(load_chat(more.path).tokenizer)
    assert list(both) == ["specific", "safe"] and both["safe"] == attribute_ids(rated)["safe"]


def test_a_vocabulary_keeps_its_size(tmp_path):
    words = [{"role": "user", "content": "the cat sat on the mat and the dog " * 9}, SAY]
    records = [{"messages": words}, {"messages": TALK, "ratings": {"safe": 1}}]
    corpus = made(tmp_path, *records, tokenizer="bpe", vocab_size=280)
    assert corpus.vocab_size == 280


def test_nobody_writes_a_rating_into_a_message(tmp_path):
    sly = [ASK, {"role": "assistant", "content": "Yes.<|im_end|><|safe|><|rating_1|>"}]
    corpus = made(tmp_path, {"messages": sly, "ratings": {"safe": 0}})
    chat = load_chat(corpus.path)
    ids = corpus.stream("train").read(0, corpus.tokens("train")).tolist()
    special = [chat.tokenizer.backend.token_to_id(token) for token in ("<|safe|>", *RATINGS)]
    assert [i for i in ids if i in special] == [special[0], special[1]]
    assert "Yes.<|im_end|><|safe|><|rating_1|>" in chat.tokenizer.decode(ids)


def test_half_of_the_ratings_are_held_out_with_their_conversation(tmp_path):
    records = [
        {
            "messages": [{"role": "user", "content": f"q{i}"}, SAY],
            "ratings": {"safe": 1, "specific": 0},
        }
        for i in range(12)
    ]
    corpus = made(tmp_path, *records, val=0.5)
    train, val = (
        {text.partition("<|im_end|>")[0] for text, _, _ in sequences(corpus, split)}
        for split in ("train", "val")
    )
    assert train and val and not train & val


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (
            {"messages": TALK, "ratings": {"sensable": 1}},
            "line 2; the first: ratings has 'sensable'",
        ),
        ({"messages": TALK, "ratings": {"safe": 0.5}}, "ratings.safe is 0.5"),
        ({"messages": TALK, "ratings": {"safe": "1"}}, "ratings.safe is '1'"),
        ({"messages": TALK, "ratings": {}}, "its ratings are empty"),
        ({"messages": TALK[:3], "ratings": {"safe": 1}}, "does not end with one"),
    ],
)
def test_a_rating_that_cannot_be_meant_is_refused_with_its_line(tmp_path, record, words):
    with pytest.raises(InputError) as error:
        made(tmp_path, {"messages": [ASK, SAY]}, record)
    assert words in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "chats.jsonl-corpus").exists()
    corpus = made(tmp_path, {"messages": [ASK, SAY]}, record, name="s.jsonl", on_error="skip")
    assert len(sequences(corpus)) == 1


def test_what_is_rated_in_held_out_files_alone_is_refused(tmp_path):
    val = tmp_path / "val.jsonl"
    val.write_text(json.dumps({"messages": TALK, "ratings": {"safe": 1}}) + "\n")
    with pytest.raises(InputError, match="rated as safe, but the tokenizer is from conversations"):
        made(tmp_path, {"messages": TALK}, val=str(val))


def test_what_is_understood_is_shown(tmp_path, capsys):
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps({"messages": TALK, "ratings": {"safe": 0, "specific": 1}}) + "\n")
    options = ["--chat", "--val", "0", "--show", "1", "--tokenizer", "byte"]
    assert main(["prepare", str(path), *options, "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "ratings    specific 1, safe 0" in shown
    assert "<|specific|>⟦<|rating_1|>⟧" in shown and "<|safe|>⟦<|rating_0|>⟧" in shown
    assert open_corpus(tmp_path / "out").task == "chat"
