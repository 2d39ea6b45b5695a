"""Two tokenizers in one range of ids: each keeps its own, and other programs open both."""

import pytest

from xunlian.errors import InputError
from xunlian.tokenizer.fingerprint import folder_fingerprint
from xunlian.tokenizer.sides import Sides, load_sides, side_by_side
from xunlian.tokenizer.train import train_tokenizer

ENGLISH = ["the cat sat on the mat and the dog sat on the cat " * 5]
CHINESE = ["猫坐在垫子上，狗坐在猫上。" * 20]


def made(texts, kind):
    return train_tokenizer(iter(texts), kind, 400, shrink=True, pad=True)


@pytest.mark.parametrize("kind", ["bpe", "char", "byte", "wordpiece"])
def test_the_target_keeps_its_tokens_behind_those_of_the_source(kind):
    source, target = made(ENGLISH, kind), made(CHINESE, kind)
    sides = side_by_side(source, target)
    ids = sides.target.encode(CHINESE[0])
    # The same tokens in the same order as before, all behind the source's.
    names = [sides.target.backend.id_to_token(i) for i in ids]
    assert names == [target.backend.id_to_token(i) for i in target.encode(CHINESE[0])]
    assert min(ids) >= source.vocab_size and max(ids) < sides.vocab_size
    assert sides.target.decode(ids) == target.decode(target.encode(CHINESE[0]))
    assert (sides.target.end_id, sides.target.pad_id) == (source.end_id, source.pad_id)
    # No id is missing: the two special ones are shared.
    assert sides.vocab_size == source.vocab_size + target.vocab_size - 2


def test_what_is_saved_opens_here_and_in_transformers(tmp_path):
    from transformers import AutoTokenizer

    sides = side_by_side(made(ENGLISH, "bpe"), made(CHINESE, "bpe"))
    sides.save(tmp_path)
    opened = load_sides(tmp_path)
    assert opened.separate and opened.fingerprint == sides.fingerprint
    assert folder_fingerprint(tmp_path) == sides.fingerprint
    theirs = AutoTokenizer.from_pretrained(tmp_path, subfolder="target")
    ids = theirs(CHINESE[0]).input_ids
    assert ids == [*sides.target.encode(CHINESE[0]), sides.source.end_id]
    assert opened.target.encode(CHINESE[0]) == ids[:-1]
    assert opened.source.encode(ENGLISH[0]) == sides.source.encode(ENGLISH[0])


def test_one_tokenizer_is_both_sides(tmp_path):
    one = made(ENGLISH, "bpe")
    sides = Sides(one, one)
    sides.save(tmp_path)
    opened = load_sides(tmp_path)
    assert not opened.separate and opened.fingerprint == one.fingerprint
    assert not (tmp_path / "target").exists()
    assert folder_fingerprint(tmp_path) == one.fingerprint


def test_unigram_cannot_be_moved():
    with pytest.raises(InputError, match=r"tokenizer.kind=bpe"):
        side_by_side(made(ENGLISH * 3, "unigram"), made(CHINESE * 3, "unigram"))
