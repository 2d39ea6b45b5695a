"""What is encoded in bulk is what the library encodes, id by id."""

import random
import re
from collections.abc import Callable
from itertools import chain

import numpy as np
import orjson
import pytest
import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

from xunlian.recipe.samples import samples_folder
from xunlian.tokenizer import bulk, known_words
from xunlian.tokenizer.bulk import bulk_encoder
from xunlian.tokenizer.patterns import END, WORDS
from xunlian.tokenizer.tokenizer import Tokenizer, wrap
from xunlian.tokenizer.train import KINDS, train_tokenizer

ENGLISH = (samples_folder() / "shakespeare.txt").read_text("utf-8")[:150_000]
CHINESE = (samples_folder() / "songci.txt").read_text("utf-8")[:60_000]
HARD = [
    "",
    " ",
    "\n",
    "a",
    "中",
    "\0",
    "\0\0a\0",
    "  two  spaces\n\n\n\ttab \r\n don't I'LL 123456 x=<0x41> <|endoftext|> <unk> ▁ ##ing ﬁ",
    "🙂👩‍👩‍👧 中文，你好！Song《水调歌头》 日本語のテキスト Привет\u200b مرحبا",
    "\u200b \x85 e\u0301 é Å\u030a",
    "=" * 40 + "a" * 15 + " " + "b" * 16 + "中" * 6 + "文" * 300,
    "<|endoftext|><tool><|endoftext|>",
]


def learn(kind: str) -> Tokenizer:
    size = 257 if kind == "byte" else 2500
    text = ENGLISH[:60_000] + CHINESE[:30_000]
    return train_tokenizer(
        (text[i : i + 5000] for i in range(0, len(text), 5000)), kind, size, True
    )


@pytest.fixture(scope="module")
def learned() -> dict[str, Tokenizer]:
    return {kind: learn(kind) for kind in KINDS}


def random_texts(seed: int, count: int = 300) -> list[str]:
    """Rows of whole lines, pieces of lines, and single characters of all planes."""
    source = random.Random(seed)
    lines = (ENGLISH + CHINESE).split("\n")
    texts = []
    for _ in range(count):
        parts = []
        for _ in range(source.randrange(8)):
            line = source.choice(lines)
            start = source.randrange(len(line) + 1)
            code = source.choice((0x80, 0x300, 0x3000, 0xD800, 0x20000, 0x110000))
            some = [
                chr(c)
                for c in (source.randrange(code) for _ in range(3))
                if not 0xD800 <= c < 0xE000
            ]
            parts += [line[start:], source.choice(["\n", " ", "", "\n\n "]), *some]
        texts.append("".join(parts))
    return texts


def is_equal(tokenizer: Tokenizer, texts: list[str]) -> bool:
    ids, counts = bulk_encoder(tokenizer)(texts)
    expected = tokenizer.encode_batch(texts)
    assert ids.dtype == np.int32
    return counts.tolist() == [*map(len, expected)] and ids.tolist() == [*chain(*expected)]


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it to have texts that are left to the library fail the test."""

    def forbid() -> None:
        bulk_encoder.cache_clear()
        monkeypatch.setattr(
            bulk, "_library_encoder", lambda _: lambda texts: pytest.fail(str(texts))
        )

    return forbid


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_ids_of_the_library(learned: dict[str, Tokenizer], kind: str) -> None:
    assert is_equal(learned[kind], [])
    assert is_equal(learned[kind], HARD)
    assert is_equal(learned[kind], HARD[::-1])
    assert is_equal(learned[kind], ["", ""])
    for seed in range(3):
        assert is_equal(learned[kind], random_texts(seed))
    assert is_equal(learned[kind], [ENGLISH, CHINESE, ENGLISH + CHINESE])


@pytest.mark.parametrize("kind", ["bpe", "unigram", "byte"])
def test_these_kinds_go_without_the_library(
    learned: dict[str, Tokenizer], kind: str, no_library: Callable[[], None]
) -> None:
    no_library()
    assert is_equal(learned[kind], HARD)


def test_words_are_the_same_after_forgetting_and_in_a_table_of_two_places(
    learned: dict[str, Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_words, "_MOST", 300)
    monkeypatch.setattr(known_words, "_PLACES", 1)
    monkeypatch.setattr(bulk, "_BLOCK", 1000)
    monkeypatch.setattr(bulk, "_TO_LIBRARY", 7)
    bulk_encoder.cache_clear()
    for seed in range(2):
        assert is_equal(learned["bpe"], random_texts(seed) + HARD)
    bulk_encoder.cache_clear()


def test_one_encoder_serves_tokenizers_that_are_the_same(learned: dict[str, Tokenizer]) -> None:
    tokenizer = learned["bpe"]
    again = wrap(tokenizers.Tokenizer.from_str(tokenizer.backend.to_str()), END)
    assert bulk_encoder(again) is bulk_encoder(tokenizer)
    assert bulk_encoder(learned["byte"]) is not bulk_encoder(tokenizer)


def byte_level(texts: list[str], size: int) -> tokenizers.Tokenizer:
    """Byte-level BPE learned from whole clauses, whose tokens hold parts of characters."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    backend.decoder = decoders.ByteLevel()
    return backend


def test_tokens_that_hold_parts_of_characters_are_not_cut(no_library: Callable[[], None]) -> None:
    source = random.Random(1)
    signs = [*map(chr, [*range(0x4E00, 0x9FFF), *range(0x1F600, 0x1F640), *range(0xE0, 0x180)])]
    texts = ["".join(source.choices(signs, k=source.randrange(1, 30))) for _ in range(900)]
    tokenizer = wrap(byte_level(texts, 2000), END)
    parts = [
        token
        for token in bulk._bytes_of_letters(tokenizer.backend.get_vocab()).values()
        if re.search(rb"[\x80-\xbf][\xc0-\xff]", token)
        and "\ufffd" in token.decode(errors="replace")
    ]
    assert len(parts) > 100
    no_library()
    assert is_equal(tokenizer, texts)
    assert is_equal(tokenizer, ["".join(source.choices(signs, k=30)) for _ in range(900)])


def changed(tokenizer: Tokenizer, **parts: object) -> Tokenizer:
    content = orjson.loads(tokenizer.backend.to_str())
    for name, value in parts.items():
        target, _, key = name.rpartition("__")
        (content[target] if target else content)[key] = value
    return wrap(tokenizers.Tokenizer.from_str(orjson.dumps(content).decode()), END)


def test_a_normal_form_and_tokens_added_to_the_text_are_kept_to(
    learned: dict[str, Tokenizer],
) -> None:
    backend = tokenizers.Tokenizer.from_str(learned["bpe"].backend.to_str())
    backend.normalizer = normalizers.NFC()
    backend.add_tokens([tokenizers.AddedToken("<tool>", special=False, normalized=False)])
    tokenizer = wrap(backend, END)
    number = backend.token_to_id("<tool>")
    assert number in tokenizer.encode("a<tool>b")
    texts = [*HARD, "a<tool>b", "e\u0301<tool>", "<tool\u0338>", "cafe\u0301 \u212b", "plain"]
    assert is_equal(tokenizer, texts)
    assert is_equal(tokenizer, random_texts(5))


@pytest.mark.parametrize(
    "parts",
    [
        {"normalizer": {"type": "NFKC"}},
        {"normalizer": {"type": "Lowercase"}},
        {"model__ignore_merges": True},
        {
            "pre_tokenizer": {
                "type": "ByteLevel",
                "add_prefix_space": True,
                "trim_offsets": True,
                "use_regex": True,
            }
        },
        {
            "pre_tokenizer": {
                "type": "ByteLevel",
                "add_prefix_space": False,
                "trim_offsets": True,
                "use_regex": False,
            }
        },
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"pre_tokenizer": None},
    ],
)
def test_tokenizers_of_other_forms_are_left_to_the_library(
    learned: dict[str, Tokenizer], parts: dict[str, object]
) -> None:
    tokenizer = changed(learned["bpe"], **parts)
    assert is_equal(tokenizer, [*HARD, *random_texts(7, 100), "ＦＵＬＬ Width"])


def test_another_pattern_is_left_to_the_library(learned: dict[str, Tokenizer]) -> None:
    content = orjson.loads(learned["bpe"].backend.to_str())
    content["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {
        "Regex": r"\p{N}{1,3}|\p{L}+|[^\p{L}\p{N}]+"
    }
    tokenizer = wrap(tokenizers.Tokenizer.from_str(orjson.dumps(content).decode()), END)
    assert is_equal(tokenizer, [*HARD, *random_texts(8, 100)])


def test_half_a_character_is_refused(learned: dict[str, Tokenizer]) -> None:
    for kind in ("bpe", "byte"):
        with pytest.raises(UnicodeEncodeError):
            bulk_encoder(learned[kind])(["a\ud800"])
