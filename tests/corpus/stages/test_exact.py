import random

from xunlian.corpus.stages.exact import exact_hashes, without_paragraphs
from xunlian.corpus.stages.ngrams import fold


def hashes(texts: list[str]) -> list[tuple[int, ...]]:
    return [tuple(pair) for pair in exact_hashes(fold(texts))[0].tolist()]


def test_equal_but_for_case_width_and_space_is_equal() -> None:
    first, *others = hashes(["One two.", " one   TWO.\n", "Ｏｎｅ\u3000two.", "one\r\n\ttwo."])
    assert others == [first] * 3


def test_any_other_change_makes_another_hash() -> None:
    texts = ["one two.", "one two", "onetwo.", "two one.", "one two. x", "", "零一二", "零一三"]
    assert len(set(hashes(texts))) == len(texts)


def test_hashes_are_those_of_the_slow_way() -> None:
    rng = random.Random(3)
    texts = ["".join(rng.choices("aA b\n\t　你B.", k=rng.randrange(12))) for _ in range(2000)]
    slow = [" ".join(text.split()).casefold() for text in texts]
    found: dict[str, tuple[int, ...]] = {}
    for text, value in zip(slow, hashes(texts), strict=True):
        assert found.setdefault(text, value) == value
    assert len(set(found.values())) == len(found) > 500


def test_long_lines_are_found_with_their_text_and_number() -> None:
    long, chinese = "a long line of text", "一行中文字很长"  # 19 characters; 7 that count 21
    texts = [f"short\n{long}\n\n  {long.upper()}  ", "", f"{chinese}\n中文\n", long]
    found = exact_hashes(fold(texts), 19)[1]
    assert found.rows.tolist() == [0, 0, 2, 3]
    assert found.numbers.tolist() == [1, 3, 0, 0]
    assert found.hashes[0] == found.hashes[1] == found.hashes[3] != found.hashes[2]
    assert exact_hashes(fold(texts), 20)[1].rows.tolist() == [2]


def test_lines_are_taken_out_by_number() -> None:
    assert without_paragraphs("a\nb\nc\nd", [0, 2]) == "b\nd"
    assert without_paragraphs("a", [0]) == ""
    assert without_paragraphs("a\n\nb\n", [2]) == "a\n\n"
