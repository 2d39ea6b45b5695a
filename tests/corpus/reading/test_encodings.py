"""Chinese text in GB18030 and in Big5 is told apart, and from all that is not Chinese."""

from pathlib import Path

import pytest
from made_reading import read

from xunlian.corpus.reading.chinese import chinese_encoding
from xunlian.corpus.reading.pages import decode_page
from xunlian.errors import InputError
from xunlian.recipe.samples import samples_folder

TRADITIONAL = (
    "人人生而自由，在尊嚴和權利上一律平等。他們賦有理性和良心，並應以兄弟關係的精神相對待。"
    "人人有資格享有本宣言所載的一切權利和自由，不分種族、膚色、性別、語言、宗教、政治或其他見解。"
)
SIMPLIFIED = (
    "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。"
    "人人有资格享有本宣言所载的一切权利和自由，不分种族、肤色、性别、语言、宗教、政治或其他见解。"
)
CANTONESE = "佢哋嘅嘢喺呢度，我哋唔係咁講嘅。你哋有冇睇過？" + TRADITIONAL
OTHERS = {
    "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。": (
        "euc_jp",
        "shift_jis",
    ),
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.": ("euc_kr",),
    "Все люди рождаются свободными и равными в своем достоинстве и правах.": (
        "cp1251",
        "koi8-r",
        "iso8859-5",
    ),
    "Alle Bürger müssen früh zurück, die Küche grüßt natürlich für die Brücke.": ("latin-1",),
    "L'été, près du théâtre, négocier là où les élèves étaient déjà âgés.": (
        "latin-1",
        "mac-roman",
    ),
    "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ": ("tis-620",),
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια.": ("cp1253",),
}


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv"])
@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (TRADITIONAL, "big5"),
        (TRADITIONAL, "cp950"),
        (CANTONESE, "big5hkscs"),
        (TRADITIONAL, "gbk"),
        (TRADITIONAL, "gb18030"),
        (SIMPLIFIED, "gbk"),
    ],
)
def test_chinese_is_recognised_in_every_format(
    text: str, encoding: str, kind: str, tmp_path: Path
) -> None:
    head = {"txt": "", "jsonl": '{"text": "', "csv": 'text\n"'}[kind]
    tail = {"txt": "", "jsonl": '"}', "csv": '"\n'}[kind]
    path = tmp_path / f"a.{kind}"
    path.write_bytes((head + text + tail).encode(encoding))
    assert read(path).texts == [text]


@pytest.mark.parametrize("text", OTHERS)
def test_other_languages_are_not_taken_for_chinese(text: str) -> None:
    for encoding in OTHERS[text]:
        for data in (text.encode(encoding), text.encode(encoding) * 50):
            assert chinese_encoding(data) is None, encoding


def test_a_long_chinese_text_is_never_mistaken() -> None:
    """Every 300 characters of the sample, in both encodings where they exist in both."""
    text = (samples_folder() / "songci.txt").read_text("utf-8")
    for first in range(0, 120_000, 300):
        part = text[first : first + 300]
        assert chinese_encoding(part.encode("gb18030")) == "gb18030"
        # Simplified characters without a traditional twin are missing in Big5.
        big5 = part.encode("cp950", "ignore")
        assert chinese_encoding(big5) in ("cp950", None)


def test_a_block_may_end_in_the_middle_of_a_character() -> None:
    for encoding, text in (("cp950", TRADITIONAL), ("gb18030", SIMPLIFIED)):
        data = text.encode(encoding)
        assert {chinese_encoding(data[:-cut]) for cut in (1, 2, 3)} == {encoding}


@pytest.mark.parametrize(("encoding", "text"), [("cp950", TRADITIONAL), ("gb18030", SIMPLIFIED)])
def test_one_wrong_byte_in_chinese_is_replaced_with_skip(
    encoding: str, text: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.txt"
    data = text.encode(encoding)
    path.write_bytes(data * 5 + b"\xff\n" + data * 5)
    with pytest.raises(InputError):
        read(path)
    found = read(path, on_error="skip")
    assert found.texts == [text * 5 + "\ufffd\n" + text * 5]
    assert found.counts["replaced_characters"] == 1
    assert found.aside[0][1] == f"byte {5 * len(data):,}"


@pytest.mark.parametrize("encoding", ["utf-8", "big5", "gb18030"])
@pytest.mark.parametrize("declares", [True, False])
def test_a_page_without_a_server_is_decoded(encoding: str, declares: bool) -> None:
    head = f'<meta charset="{encoding}">' if declares else "<meta>"
    assert decode_page((head + TRADITIONAL).encode(encoding)) == (head + TRADITIONAL, 0)


def test_a_page_that_lies_about_its_encoding_is_not_believed() -> None:
    page = '<meta charset="gb2312">' + TRADITIONAL
    assert decode_page(page.encode("utf-8")) == (page, 0)
    page = '<meta charset="utf-8">' + SIMPLIFIED
    assert decode_page(page.encode("gb18030")) == (page, 0)


def test_an_encoding_that_is_not_for_texts_is_not_believed() -> None:
    page = '<meta charset="idna">' + SIMPLIFIED
    assert decode_page(page.encode("gb18030"), "idna") == (page, 0)
