"""Personal data: what is found, what only looks like it, and what becomes of the text."""

import re
import time
import timeit
from collections import Counter
from itertools import pairwise

import pytest
from pydantic import ValidationError

from xunlian.corpus.stages.privacy import Find, find, mask, shape
from xunlian.corpus.stages.privacy_cards import luhn
from xunlian.corpus.stages.privacy_ids import chinese_check
from xunlian.recipe.corpus_privacy import KINDS, Privacy

PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow0AAz+/\nabc=\n-----END RSA PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
RANDOM36 = "a8Fk29dLq0ZxWv7RtYb3Nc5Mj1Hg6Ps4Ue2i"

FOUND = [
    ("email", "ann.lee+news@mail.example.co.uk"),
    ("email", "o'neil_42@example.org"),
    ("email", "12345678@qq.com"),
    ("ip", "192.168.10.200"),
    ("ip", "2001:db8:85a3::8a2e:370:7334"),
    ("ip", "fe80:0:0:0:204:61ff:fe9d:f156"),
    ("ip", "::ffff:192.0.2.128"),
    ("phone", "555-234-5678"),
    ("phone", "(555) 234-5678"),
    ("phone", "555.234.5678x123"),
    ("phone", "5552345678"),
    ("phone", "+1-555-234-5678"),
    ("phone", "001-555-234-5678x9876"),
    ("phone", "+44 (0)1632 960 123"),
    ("phone", "(01632) 960123"),
    ("phone", "07700 900123"),
    ("phone", "+49 30 901820"),
    ("phone", "+33 1 23 45 67 89"),
    ("phone", "01 23 45 67 89"),
    ("phone", "13812345678"),
    ("phone", "138 1234 5678"),
    ("phone", "138-1234-5678"),
    ("phone", "+86 138 1234 5678"),
    ("phone", "+8613812345678"),
    ("phone", "010-62345678"),
    ("phone", "0571-87654321"),
    ("phone", "400-820-8820"),
    ("card", "4111111111111111"),
    ("card", "4111 1111 1111 1111"),
    ("card", "5500-0000-0000-0004"),
    ("card", "3782 822463 10005"),
    ("card", "6011000990139424"),
    ("card", "3530111333300000"),
    ("card", "30569309025904"),
    ("card", "6222 0212 3456 7890 128"),
    ("national_id", "11010519491231002X"),
    ("national_id", "440524188001010014"),
    ("national_id", "110105 19491231 002x"),
    ("national_id", "123-45-6789"),
    ("national_id", "AB 12 34 56 C"),
    ("national_id", "AB123456C"),
    ("plate", "京A·12345"),
    ("plate", "粤B12345"),
    ("plate", "沪AD12345"),
    ("plate", "京A12345F"),
    ("plate", "粤Z1234港"),
    ("plate", "AB12 CDE"),
    ("key", "AKIAIOSFODNN7EXAMPLE"),
    ("key", f"ghp_{RANDOM36}"),
    ("key", f"github_pat_{RANDOM36}"),
    ("key", f"sk-proj-{RANDOM36}"),
    ("key", f"sk-{RANDOM36}"),
    ("key", f"sk_live_{RANDOM36[:24]}"),
    ("key", f"AIza{RANDOM36[:35]}"),
    ("key", f"xoxb-{RANDOM36}"),
    ("key", f"hf_{RANDOM36[:34]}"),
    ("key", f"glpat-{RANDOM36[:20]}"),
    ("key", f"LTAI{RANDOM36[:20]}"),
    ("key", f"123456789:AA{RANDOM36[:33]}"),
    ("key", JWT),
    ("key", PEM),
]

AROUND = ["{x}", "See {x}.", "“{x}”", "记录是{x}，没有别的。", "(2015年5月12日，{x})", "a,{x}\nb"]


@pytest.mark.parametrize(("kind", "text"), FOUND, ids=[f"{k} {t[:30]!r}" for k, t in FOUND])
def test_it_is_found_whole_in_any_surroundings(kind: str, text: str) -> None:
    for around in AROUND:
        masked, counts = mask([around.replace("{x}", text)])
        assert masked == [around.replace("{x}", f"<{kind.upper()}>")]
        assert counts == {kind: 1}


NOT_FOUND = [
    "In 1939-1945, from 2015-10-11 12:30:45 to 11/10/2015, 1,234,567,890 people.",
    "ISBN 9780306406157, ISBN-13: 978-0-306-40615-7, ISBN 5-02-013850-9, ISBN 5020138509",
    "ISSN 0378-5955, doi:10.1000/182, arXiv:2105.12345v2, PMID 12345678",
    "version 1.10.2.300, v10.20.30.40, section 1.2.3.4, 255.255.255.0, 127.0.0.1",
    "40.446195, -79.982195 and 40.4461951234567890",
    "It costs $2125551234 or 212.50 or €1 234 567 and 3.14159265358979323846.",
    "x = 4111111111111112; id=41111111111111111111111; 0x4111111111111111",  # Luhn; too long; hex
    "e173ac3f-ed84-41ad-b98d-586121353591 and 2147483647 and 4294967296",
    "at 12:30:45, a[1::2], std::string, dead::beef, ::1, 00:1B:44:11:3A:B7",
    "logo@2x.png, @property, user@localhost, a @ b.com, git@github.com:x/y.git",
    "11010519491231002Y 110105194912310020 990105194912310021 110105194913310021",
    "0010 0011 0100 0101 0110 0111, 377 610 987 1597",
    "川A 和 云南 新A股 12345，京A",
    "https://example.org/a/b?x=1&page=2#top and https://example.org:8080/",
    "the key: internationalization, token = configuration_manager, api_key = YOUR_API_KEY_HERE",
    "sk-learn-contributed-packages-and-more, /usr/local/lib/python3.11/site-packages/key",
    "commit d41d8cd98f00b204e9800998ecf8427e9800998e and sha256 of d41d8cd98f00b204e9800998",
    "Plate 1234 and plates 805 AD, SE10 9NF",
    "人口为13812345人，面积123456789平方公里，公元前1046年至公元前256年",
    "UTC+8，2015年10月11日12时30分，编号20151011123045",
]


@pytest.mark.parametrize("text", NOT_FOUND)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert mask([text]) == ([text], Counter())


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("https://bob:s3cr3t@example.org/x", "https://<CREDENTIALS>@example.org/x"),
        ("ftp://bob:p@ss#1@example.org", "ftp://<CREDENTIALS>@example.org"),
        ("http://a.org/?x=1&token=abc123def&y=2", "http://a.org/?x=1&token=<CREDENTIALS>&y=2"),
        ("api_key = 'd41d8cd98f00b204e9800998ecf8427e'", "api_key = '<KEY>'"),
        (f'{{"secret": "{RANDOM36}"}}', '{"secret": "<KEY>"}'),
        (f"Authorization: Bearer {RANDOM36}", "Authorization: Bearer <KEY>"),
        ("call 234-5678 now", "call <PHONE> now"),
        ("电话：87654321", "电话：<PHONE>"),
        ("手机：１３８１２３４５６７８", "手机：<PHONE>"),
        ("卡号6222021234567890123", "卡号<CARD>"),
        ("身份证号110105491231002", "身份证号<NATIONAL_ID>"),
        ("SSN: 123456789", "SSN: <NATIONAL_ID>"),
        ("license plate 7ABC123", "license plate <PLATE>"),
        ("李雷 11010519491231002X 13812345678", "李雷 <NATIONAL_ID> <PHONE>"),
        ("4111111111111111,5500000000000004", "<CARD>,<CARD>"),
        ("a@b.org;c@d.org", "<EMAIL>;<EMAIL>"),
        ("to 410-307-2020 or 1-866-756-2587.", "to <PHONE> or <PHONE>."),
    ],
)
def test_the_rest_of_the_text_stays(text: str, masked: str) -> None:
    assert mask([text])[0] == [masked]


def test_a_batch_is_masked_as_each_text_alone() -> None:
    texts = [around.replace("{x}", text) for _, text in FOUND for around in AROUND] + NOT_FOUND
    texts += ["", "555-234", "-5678", "138123", "45678", "ann@", "example.org", "a\0b@c.de"]
    together, counts = mask(texts)
    alone = [mask([text]) for text in texts]
    assert together == [masked[0] for masked, _ in alone]
    assert counts == sum((one for _, one in alone), Counter())
    assert mask([]) == ([], Counter())


def test_only_the_chosen_kinds_are_masked() -> None:
    text = "ann@example.org, 555-234-5678"
    assert mask([text], ["phone"])[0] == ["ann@example.org, <PHONE>"]
    assert mask([text], [])[0] == [text]
    assert mask([text], KINDS, "[{kind} REMOVED]")[0] == ["[EMAIL REMOVED], [PHONE REMOVED]"]


def test_finds_are_in_order_apart_and_where_they_say() -> None:
    texts = ["; ".join(text for _, text in FOUND)] * 2
    finds = find(texts)
    for one, following in pairwise(finds):
        assert one.text < following.text or one.end <= following.start
    assert find(["x ann@example.org"]) == [Find(0, 2, 17, "email")]
    assert [one.kind for one in finds] == [kind for kind, _ in FOUND] * 2


def test_a_shape_tells_nothing() -> None:
    for _, text in FOUND:
        assert not re.search("[b-zB-Z1-9]", shape(text))
        assert len(shape(text)) == len(text)
    assert shape("Ann-1@x.org 张三") == "aaa-0@a.aaa aa"


def test_check_digits_are_those_of_the_standards() -> None:
    assert luhn("79927398713") and not luhn("79927398710")
    assert chinese_check("11010519491231002") == "X"
    assert chinese_check("44052418800101001") == "4"
    weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]  # GB 11643-1999, table
    number = "31010119900307123"
    total = sum(int(digit) * weight for digit, weight in zip(number, weights, strict=True))
    assert chinese_check(number) == "10X98765432"[total % 11]


@pytest.mark.parametrize(
    "unit",
    ["@", "a@a.", "1", "1 ", "1-", "(1)", "+1", "1.1.", ":a", "::", "://a:", "eyJ", "sk-", "key=",
     "-----BEGIN PRIVATE KEY-----", "AB1", "plate ", "&token=", "0123", "4111 ", "１", "京A", "\0"],
)  # fmt: skip
def test_hostile_text_takes_linear_time(unit: str) -> None:
    def seconds(size: int) -> float:
        text = unit * (size // len(unit))
        # Of the processor, and without collecting garbage of other tests.
        return timeit.timeit(lambda: mask([text]), timer=time.process_time, number=1)

    short = max(seconds(30_000), 0.02)
    # Linear is 4 times as long; 5 where each match may look 16 kB ahead; quadratic is 16.
    assert seconds(120_000) < 10 * short


def test_settings_are_checked() -> None:
    assert Privacy().mask == KINDS
    with pytest.raises(ValidationError):
        Privacy(placeholder="<{name}>")
    with pytest.raises(ValidationError):
        Privacy(mask=("address",))  # type: ignore[arg-type]
