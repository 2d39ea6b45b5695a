import gzip
import json
import random
from pathlib import Path

import pytest
from made_duplicates import tokens

from xunlian.corpus.stages import contamination as module
from xunlian.corpus.stages.contamination import (
    REASON,
    contaminated,
    load_index,
    make_index,
    read_sets,
    save_index,
)
from xunlian.errors import InputError

WORDS = [f"w{i}" for i in range(2000)]
QUESTION = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in "
    "May. How many clips did Natalia sell altogether in April and May?"
)
CHINESE = "小明有三个苹果，他的妈妈又给了他五个苹果，后来他吃掉了两个，请问小明现在还有几个苹果？"


def passage(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, k=words))


def share(example: str, text: str, n: int) -> float:
    """Of the example's n-grams, how many the text has: the slow way."""
    words = tokens(example)
    n = min(n, len(words))
    grams = {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}
    words = tokens(text)
    return len(grams & {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}) / len(grams)


def test_a_document_with_an_example_is_contaminated_and_counted_by_set() -> None:
    index = make_index([("gsm", [QUESTION, "short one"]), ("zh", [CHINESE])])
    texts = [
        f"some words before. {QUESTION.upper()} and after",
        f"前面的话。{CHINESE.replace('，', ', ')}后面",
        "Natalia sold clips to 48 of her friends in April, and then she went home.",
        "short one",
        f"{QUESTION}\n{CHINESE}",
        "",
    ]
    verdicts, counts = contaminated(texts, index, 0.5)
    assert verdicts == [REASON, REASON, None, None, REASON, None]
    assert counts == {"gsm": 2, "zh": 2}


def test_an_example_with_a_word_changed_is_still_found() -> None:
    index = make_index([("gsm", [QUESTION])])
    changed = QUESTION.replace("Natalia sold", "Anna sold", 1)
    assert contaminated([changed], index, 0.5)[0] == [REASON]
    assert contaminated([changed], index, 1)[0] == [None]


def test_a_short_example_is_found_as_a_whole() -> None:
    index = make_index([("qa", ["what is the capital city of southern france today", "of the"])])
    texts = ["so What is the capital city of Southern France today?", "the capital city of the"]
    assert contaminated(texts, index, 0.5)[0] == [REASON, None]


def test_verdicts_are_those_of_the_slow_way() -> None:
    rng = random.Random(2)
    examples = [passage(rng, rng.randrange(8, 60)) for _ in range(60)]
    texts = []
    for _ in range(150):
        words = rng.choice(examples).split()
        cut = rng.choice((0, rng.randrange(len(words))))
        part = " ".join(words[cut:] if rng.random() < 0.5 else words[:cut])
        texts.append(f"{passage(rng, rng.randrange(30))} {part} {passage(rng, rng.randrange(30))}")
    index = make_index([("a", examples[:30]), ("b", iter(examples[30:]))], 10)
    for overlap in (0.3, 0.5, 1.0):
        expected = [
            REASON if any(share(one, text, 10) >= overlap for one in examples) else None
            for text in texts
        ]
        assert contaminated(texts, index, overlap)[0] == expected
        assert 10 < expected.count(REASON) < 140


def test_what_stands_in_very_many_examples_is_no_evidence() -> None:
    head = "the following are multiple choice questions with answers about the subject of history"
    index = make_index([("mmlu", [f"{head} {passage(random.Random(i), 9)}" for i in range(150)])])
    assert contaminated([head], index, 0.01)[0] == [None]


def test_verdicts_do_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(3)
    texts = [passage(rng, 30) for _ in range(40)]
    index = make_index([("a", texts[::3])])
    together = contaminated(texts, index, 0.5)
    monkeypatch.setattr("xunlian.corpus.stages.ngrams.BLOCK", 500)
    assert contaminated(texts, index, 0.5) == together
    assert together[0] == [REASON if i % 3 == 0 else None for i in range(40)]


def test_an_index_is_saved_and_loaded(tmp_path: Path) -> None:
    index = make_index([("gsm", [QUESTION]), ("中文", [CHINESE]), ("none", [])])
    save_index(index, tmp_path / "index.bin")
    loaded = load_index(tmp_path / "index.bin")
    assert loaded.names == index.names
    assert contaminated([QUESTION, CHINESE], loaded, 0.5) == contaminated(
        [QUESTION, CHINESE], index, 0.5
    )


def test_no_examples_contaminate_nothing() -> None:
    assert contaminated([QUESTION], make_index([]), 0.5) == ([None], {})
    assert contaminated([], make_index([("a", [QUESTION])]), 0.5) == ([], {})


def test_sets_are_lines_or_all_texts_of_records(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"{QUESTION}\n{CHINESE}\n", "utf-8")
    record = {"id": 3, "question": QUESTION, "choices": ["x", {"text": CHINESE}], "none": None}
    with gzip.open(tmp_path / "b.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n\n")
    names = [str(tmp_path / name) for name in ("a.txt", "b.jsonl.gz")]
    found = {name: list(texts) for name, texts in read_sets(names)}
    assert found == {names[0]: [QUESTION, CHINESE, ""], names[1]: [QUESTION, "x", CHINESE]}


def test_a_set_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"No file or folder"):
        list(read_sets([str(tmp_path / "none.txt")]))
    (tmp_path / "a.csv").write_text("a,b\n")
    with pytest.raises(InputError, match=r"a\.csv.*\.jsonl"):
        list(read_sets([str(tmp_path / "a.csv")]))
    (tmp_path / "b.jsonl").write_text('{"a": "b"}\n{broken\n')
    with pytest.raises(InputError, match=r"b\.jsonl', line 2"):
        [list(texts) for _, texts in read_sets([str(tmp_path / "b.jsonl")])]


def test_an_example_is_at_least_eight_tokens_or_an_ngram() -> None:
    assert module.SHORTEST == 8
    index = make_index([("a", ["one two three four five six"])], 5)
    assert contaminated(["zero one two three four five six"], index, 1)[0] == [REASON]
