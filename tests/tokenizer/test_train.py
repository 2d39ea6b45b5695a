import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from xunlian.errors import InputError
from xunlian.recipe.samples import samples_folder
from xunlian.tokenizer.sizes import derived_vocab_size
from xunlian.tokenizer.tokenizer import Tokenizer, load_tokenizer
from xunlian.tokenizer.train import KINDS, train_tokenizer

ENGLISH = (samples_folder() / "shakespeare.txt").read_text("utf-8")[:120_000]
CHINESE = (samples_folder() / "songci.txt").read_text("utf-8")[:40_000]
MIXED = ENGLISH + CHINESE
HARD = (
    "  two  spaces\n\n\n\ttab \r\n don't I'll 123456 x=<0x41> <|endoftext|> <unk>"
    " ▁ ##ing é ﬁ 🙂👩‍👩‍👧 "
    "中文，你好！Song《水调歌头》 日本語のテキスト Привет مرحبا \u200b end \n"
)
SIZES = {"bpe": 1500, "unigram": 1500, "wordpiece": 1500, "byte": 257, "char": 1800}


def learn(kind: str, text: str = MIXED, size: int | None = None, shrink: bool = True) -> Tokenizer:
    pieces = (text[i : i + 10_000] for i in range(0, len(text), 10_000))
    return train_tokenizer(pieces, kind, size or SIZES[kind], shrink)


@pytest.fixture(scope="module")
def learned() -> dict[str, Tokenizer]:
    return {kind: learn(kind) for kind in KINDS}


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "wordpiece"])
def test_any_text_comes_back_exactly(learned: dict[str, Tokenizer], kind: str) -> None:
    for text in (ENGLISH, CHINESE, HARD, "", " ", "\n", "\n\n  \n"):
        assert learned[kind].decode(learned[kind].encode(text)) == text


def test_wordpiece_keeps_words_and_line_breaks(learned: dict[str, Tokenizer]) -> None:
    tokenizer = learned["wordpiece"]
    text = "First Citizen:\nBefore we proceed, hear me speak.\n\n明月几时有，把酒问青天。\n"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode(tokenizer.encode("hear   me")) == "hear me"


@pytest.mark.parametrize("kind", KINDS)
def test_text_cannot_forge_the_end_of_a_document(learned: dict[str, Tokenizer], kind: str) -> None:
    assert learned[kind].end_id not in learned[kind].encode("a <|endoftext|> b<|endoftext|>")


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_encoded_as_its_members(learned: dict[str, Tokenizer], kind: str) -> None:
    texts = [HARD, "", ENGLISH[:500], CHINESE[:500]]
    assert learned[kind].encode_batch(texts) == [learned[kind].encode(text) for text in texts]


@pytest.mark.parametrize("kind", KINDS)
def test_every_id_is_below_the_vocabulary_size(learned: dict[str, Tokenizer], kind: str) -> None:
    assert max(learned[kind].encode(MIXED + HARD)) < learned[kind].vocab_size <= SIZES[kind]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_no_token_holds_a_whole_chinese_clause(kind: str) -> None:
    tokenizer = learn(kind, CHINESE, 4096)
    for token in range(tokenizer.vocab_size):
        assert sum("\u4e00" <= c <= "\u9fff" for c in tokenizer.decode([token])) <= 4


def test_the_split_pattern_of_bpe_is_one_that_llama_cpp_knows(
    learned: dict[str, Tokenizer], tmp_path: Path
) -> None:
    # "qwen2" in llama.cpp/convert_hf_to_gguf_update.py, as in Qwen/Qwen2-7B's tokenizer.json
    learned["bpe"].save(tmp_path)
    import json

    pre = json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))["pre_tokenizer"]
    assert pre == {
        "type": "Sequence",
        "pretokenizers": [
            {
                "type": "Split",
                "pattern": {
                    "Regex": "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"
                    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
                },
                "behavior": "Isolated",
                "invert": False,
            },
            {
                "type": "ByteLevel",
                "add_prefix_space": False,
                "trim_offsets": True,
                "use_regex": False,
            },
        ],
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_text_gives_the_same_file_in_another_process(kind: str, tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from xunlian.tokenizer.train import train_tokenizer\n"
        "text = pathlib.Path(sys.argv[1]).read_text('utf-8')\n"
        "pieces = (text[i:i+10000] for i in range(0, len(text), 10000))\n"
        "made = train_tokenizer(pieces, sys.argv[2], int(sys.argv[3]), True)\n"
        "made.save(pathlib.Path(sys.argv[4]))"
    )
    (tmp_path / "text").write_text(MIXED[80_000:], "utf-8")
    digests = set()
    for seed in ("1", "2"):
        out = tmp_path / seed
        arguments = [str(tmp_path / "text"), kind, str(SIZES[kind]), str(out)]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code, *arguments], check=True, env=environment)
        digests.add(hashlib.sha256((out / "tokenizer.json").read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize("kind", ["bpe", "unigram", "wordpiece", "byte", "char"])
def test_a_vocabulary_larger_than_the_text_supports_is_refused_with_the_largest_that_works(
    kind: str,
) -> None:
    text = "the cat sat on the mat and the rat sat on the cat\n" * 20
    with pytest.raises(InputError, match=r"at most [\d]+") as error:
        learn(kind, text, 5000, shrink=False)
    supported = int(str(error.value).split("at most ")[1].split(".")[0])
    assert learn(kind, text, supported, shrink=False).vocab_size == supported
    assert learn(kind, text, 5000, shrink=True).vocab_size == supported


@pytest.mark.parametrize("kind", KINDS)
def test_a_vocabulary_too_small_for_its_kind_is_refused(kind: str) -> None:
    with pytest.raises(InputError, match="too small"):
        learn(kind, "some text", 10, shrink=False)


def test_a_misspelt_kind_names_the_nearest() -> None:
    with pytest.raises(InputError, match="Did you mean 'wordpiece'"):
        learn("wordpeice", size=300)


def test_rare_characters_do_not_push_out_the_vocabulary_of_a_small_unigram() -> None:
    tokenizer = learn("unigram", CHINESE, 600)
    assert tokenizer.vocab_size == 600
    assert tokenizer.decode(tokenizer.encode(CHINESE)) == CHINESE


def test_derived_vocabularies_grow_with_the_text_and_with_chinese() -> None:
    sizes = [derived_vocab_size("bpe", 10**n, 0.0) for n in range(4, 11)]
    assert sizes == sorted(sizes) and sizes[0] == 1024 and sizes[-1] == 32768
    assert derived_vocab_size("bpe", 10**6, 0.0) == 2048
    assert derived_vocab_size("bpe", 10**6, 0.9) == 4096


def test_a_saved_tokenizer_opens_as_the_same(learned: dict[str, Tokenizer], tmp_path: Path) -> None:
    for kind, tokenizer in learned.items():
        tokenizer.save(tmp_path / kind)
        again = load_tokenizer(tmp_path / kind)
        assert again.fingerprint == tokenizer.fingerprint
        assert (again.vocab_size, again.end_id) == (tokenizer.vocab_size, tokenizer.end_id)
        assert again.encode(HARD) == tokenizer.encode(HARD)
    assert len({tokenizer.fingerprint for tokenizer in learned.values()}) == len(learned)


@pytest.mark.parametrize("kind", ["bpe", "unigram", "wordpiece", "byte", "char"])
def test_padding_is_the_last_token_and_no_text_makes_it(kind: str, tmp_path: Path) -> None:
    text = ["a dog and a cat and a dog and a cat <pad> <|endoftext|> " * 20]
    plain = train_tokenizer(iter(text), kind, 1000, shrink=True)
    padded = train_tokenizer(iter(text), kind, 1000, shrink=True, pad=True)
    assert plain.pad_id is None and padded.pad_id == padded.vocab_size - 1 == plain.vocab_size
    ids = padded.encode(text[0])
    assert ids == plain.encode(text[0])
    assert padded.pad_id not in ids and padded.end_id not in ids
    assert padded.decode([*ids, padded.end_id, padded.pad_id]) == padded.decode(ids)
    padded.save(tmp_path)
    assert load_tokenizer(tmp_path).pad_id == padded.pad_id
    (tmp_path / "tokenizer_config.json").unlink()  # the name alone is enough
    assert load_tokenizer(tmp_path).pad_id == padded.pad_id
    assert load_tokenizer(tmp_path).fingerprint == padded.fingerprint
