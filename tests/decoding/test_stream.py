"""Text as it comes: whole characters only, nothing after a stop string, and nothing lost."""

import random

import pytest

from xunlian.decoding.stream import CONTEXT_TOKENS, REPLACEMENT, TextStream
from xunlian.recipe.samples import samples_folder
from xunlian.tokenizer.train import KINDS, train_tokenizer

ENGLISH = (samples_folder() / "shakespeare.txt").read_text("utf-8")[:20_000]
CHINESE = (samples_folder() / "songci.txt").read_text("utf-8")[:6_000]
# Characters that no vocabulary learned from the above holds: they are written as bytes.
RARE = ["é🙂 ok", "龘靐齉爩齾。", "🙂🙂🙂🎉", "日本語テキスト", "Привет, мир", "a\u0301\u200d👩‍🔬"]


@pytest.fixture(scope="module")
def tokenizers():
    texts = [ENGLISH, CHINESE]
    sizes = {"byte": 257, "bpe": 700, "unigram": 900, "wordpiece": 900, "char": 900}
    return {kind: train_tokenizer(iter(texts), kind, sizes[kind], shrink=True) for kind in sizes}


@pytest.fixture(scope="module")
def byte(tokenizers):
    return tokenizers["byte"]


def pieces(tokenizer, prompt, ids, stop=()):
    """What each token brought, and last what `end` brought."""
    stream = TextStream(tokenizer, prompt, stop)
    found = []
    for token in ids:
        found.append(stream.push(token))
        if stream.finish is not None:
            return found
    return [*found, stream.end("length")]


def mixed_texts():
    """Passages of both languages around something rare."""
    choice = random.Random(1)
    for rare in RARE * 4:
        source = choice.choice([ENGLISH, CHINESE])
        at = choice.randrange(len(source) - 100)
        yield source[at : at + 50] + rare + source[at + 50 : at + 90]


@pytest.mark.parametrize("kind", KINDS)
def test_the_pieces_joined_are_the_whole_text_decoded_at_once(kind, tokenizers):
    tokenizer, choice = tokenizers[kind], random.Random(2)
    for text in mixed_texts():
        ids = tokenizer.encode(text)
        # A prompt is a text: it may end inside a word, but not inside a character.
        cuts = [n for n in range(1, len(ids)) if REPLACEMENT not in tokenizer.decode(ids[:n])]
        cut = choice.choice(cuts)
        before = tokenizer.decode(ids[:cut])
        found = pieces(tokenizer, ids[:cut], ids[cut:])
        assert before + "".join(found) == tokenizer.decode(ids)
        assert not any(REPLACEMENT in piece for piece in found)
        assert sum(map(bool, found)) > len(found) / 5  # it comes bit by bit, not at the end


@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_any_bytes_at_all_come_out_as_the_tokenizer_decodes_them(kind, tokenizers):
    tokenizer, choice = tokenizers[kind], random.Random(3)
    for _ in range(60):
        ids = [choice.randrange(1, 257) for _ in range(50)] + tokenizer.encode(".")
        before = tokenizer.decode(ids[:9]).removesuffix(REPLACEMENT)
        assert before + "".join(pieces(tokenizer, ids[:9], ids[9:])) == tokenizer.decode(ids)


@pytest.mark.parametrize("character", ["é", "天", "🙂"])
def test_a_character_is_held_back_until_its_last_byte(character, byte):
    found = pieces(byte, byte.encode("x"), byte.encode(character + "!"))
    size = len(character.encode())
    assert found == [*[""] * (size - 1), character, "!", ""]


def test_tokens_without_text_do_not_hasten_a_character(tokenizers):
    tokenizer = tokenizers["char"]
    ids = [*tokenizer.encode("x"), *[tokenizer.end_id] * 5, *tokenizer.encode("🙂")]
    assert "".join(pieces(tokenizer, tokenizer.encode("x"), ids)) == "x🙂"


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_an_incomplete_character_at_the_end_is_dropped(kept, byte):
    ids = byte.encode("你🙂")[: 3 + kept]
    assert "".join(pieces(byte, byte.encode("x"), ids)) == "你"


@pytest.mark.parametrize("kind", ["byte", "char", "unigram"])
def test_bytes_that_are_no_character_do_not_stop_the_text(kind, tokenizers):
    tokenizer = tokenizers[kind]
    broken = tokenizer.encode("龘")[:-1] if kind == "byte" else tokenizer.encode("龘")[1:]
    ids = broken * 5 + tokenizer.encode("then it goes on")
    found = pieces(tokenizer, tokenizer.encode("x"), ids)
    assert "".join(found).lstrip(REPLACEMENT) == "then it goes on"
    assert REPLACEMENT in "".join(found[: len(broken) * 4])  # told soon, not held for ever


def test_the_work_for_a_token_does_not_grow_with_the_text(byte):
    class Counting:
        longest = 0

        def decode(self, ids):
            Counting.longest = max(Counting.longest, len(ids))
            return byte.decode(ids)

    text = "永远不会结束的故事🙂" * 30
    found = pieces(Counting(), byte.encode("x" * 300), byte.encode(text))
    assert "".join(found) == text
    assert Counting.longest <= 3 * CONTEXT_TOKENS


def test_nothing_of_a_stop_string_or_after_it_is_shown(byte):
    found = pieces(byte, [0], byte.encode("one\n\ntwo"), stop=["\n\n"])
    assert found == ["o", "n", "e", "", ""]


def test_the_start_of_a_stop_string_is_held_back_and_given_when_it_was_none(byte):
    found = pieces(byte, [0], byte.encode("abac abad"), stop=["abad"])
    assert found == ["", "", "", "abac", " ", "", "", "", ""]
    found = pieces(byte, [0], byte.encode("aab!"), stop=["aaab"])
    assert found == ["", "", "aab", "!", ""]


def test_what_is_held_comes_at_the_end(byte):
    stream = TextStream(byte, [0], ["END."])
    assert [stream.push(token) for token in byte.encode("the EN")] == [*"the ", "", ""]
    assert stream.end("length") == "EN"
    assert stream.finish == "length" and stream.tokens == 6


def test_the_first_of_several_stop_strings_counts(byte):
    def until(*stop):
        return "".join(pieces(byte, [0], byte.encode("a,b;c"), stop))

    assert until(";", ",") == until(",", ";") == "a"
    assert until("b;", ";c") == "a,"
    assert until("") == "a,b;c"  # an empty one stops nothing


def test_a_stop_string_inside_a_token_of_several_characters_is_found(tokenizers):
    tokenizer = tokenizers["bpe"]
    ids = tokenizer.encode(" the king")
    assert tokenizer.decode(ids[:1]) == " the"
    for stop in (["h"], ["e", "h"], ["h", "e"], ["he k", "the"]):
        assert "".join(pieces(tokenizer, [0], ids, stop)) == " the"[: 1 if "the" in stop else 2]


def test_a_stop_string_is_found_however_it_is_cut_into_tokens(byte, tokenizers):
    for tokenizer in (byte, tokenizers["bpe"], tokenizers["char"]):
        for stop in ("。", "从前", "。\n从", "🙂"):
            text = "他说：好吧🙂。\n从前有一个人"
            found = "".join(pieces(tokenizer, [0], tokenizer.encode(text), stop=[stop]))
            assert found == text[: text.index(stop)]


def test_a_stop_string_in_the_prompt_does_not_count(byte):
    prompt = byte.encode("Question? ")
    assert "".join(pieces(byte, prompt, byte.encode("yes"), stop=["?", " y"])) == "yes"


def test_the_finish_says_what_ended_it(byte):
    stream = TextStream(byte, [0], ["b"])
    stream.push(byte.encode("a")[0])
    assert stream.finish is None
    stream.push(byte.encode("b")[0])
    assert stream.finish == "stop" and stream.tokens == 2
    assert stream.end("length") == "" and stream.finish == "stop"
