"""The number at the end of an answer, as people and models write it."""

import gzip
import json
from fractions import Fraction

import pytest
from conftest import shared_data

from xunlian.evaluation.tasks.numbers import final_number


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("She sold 48/2 = <<48/2=24>>24 clips.\n#### 72", 72),
        ("#### 1,080", 1080),
        ("#### $2,520,000.50 in all", Fraction("2520000.5")),
        ("#### -5", -5),
        ("24 - 9 = 15", 15),
        ("10-9", 9),
        ("He has 3 apples, then 12.", 12),
        ("The answer is .5", Fraction(1, 2)),
        (r"so \boxed{12} of the 30", 12),
        (r"\boxed{\frac{2}{6}}", Fraction(1, 3)),
        ("1/8", Fraction(1, 8)),
        ("12%", 12),
        ("28.26㎡", Fraction("28.26")),
        ("3.0 m2", 3),
        ("1,2345", 2345),
        ("还剩9页没有看", 9),
        ("答：３万人", 30_000),
        ("1.5亿", 150_000_000),
        ("答案是三百二十", 320),
        ("一万零五十元", 10_050),
        ("一亿二千万", 120_000_000),
        ("两千零八", 2008),
        ("二〇二六年", 2026),
        ("三点五", Fraction(7, 2)),
        ("一共是12个", 12),
        ("十", 10),
        ("1/0", None),
        (f"7 or {'1' * 5000}", 7),
        ("一" + "亿" * 2000, None),
        ("nothing", None),
        ("", None),
    ],
)
def test_the_last_number_counts(answer, number):
    assert final_number(answer) == number


def test_every_answer_of_gsm8k_and_cmath_has_the_number_that_stands_there():
    path = shared_data("education/gsm8k/train.jsonl.gz")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        answers = [json.loads(line)["answer"] for line in file]
    for answer in answers:
        assert final_number(answer) == Fraction(answer.split("#### ")[1].replace(",", ""))
    for line in shared_data("education/cmath/cmath_dev.jsonl").read_text("utf-8").splitlines():
        golden = json.loads(line)["golden"]
        if not golden.endswith("%"):
            assert final_number(f"答案是{golden}。") == Fraction(golden)
