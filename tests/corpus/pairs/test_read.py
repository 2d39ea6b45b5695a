"""Every format of pairs gives the same pairs; every broken file one clear line."""

import gzip
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from xunlian.corpus.pairs.aligned import drift
from xunlian.corpus.pairs.read import Pair, find_languages, find_pairs, read_pairs, read_references
from xunlian.errors import InputError
from xunlian.recipe.samples import samples_folder
from xunlian.recipe.settings import Corpus as CorpusSettings

PAIRS = [
    ("A man sees a dog.", "Ein Mann sieht einen Hund."),
    ('"Quoted", with a comma', "„Zitat“, mit Komma"),
    ("天地玄黄，宇宙洪荒。", "Himmel und Erde"),
    ("", "leer"),
]


def read(*inputs: Path | str, counts: Counter[str] | None = None, **settings: object) -> list[Pair]:
    corpus = CorpusSettings(sources=tuple(map(str, inputs)), **settings)  # type: ignore[arg-type]
    pairs = find_pairs(corpus.sources)
    languages = find_languages(pairs, corpus)
    counts = Counter() if counts is None else counts
    return list(read_pairs(pairs, corpus, languages, counts, lambda _: None))


def write(path: Path, text: str | bytes) -> Path:
    data = text.encode() if isinstance(text, str) else text
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".zst":
        data = zstandard.compress(data)
    path.write_bytes(data)
    return path


def tmx(units: str, head: str = "", header: str = '<header srclang="en"/>') -> str:
    return f'<?xml version="1.0"?>{head}<tmx version="1.4">{header}<body>{units}</body></tmx>'


def unit(**texts: str) -> str:
    variants = (
        f'<tuv xml:lang="{code.replace("_", "-")}"><seg>{text}</seg></tuv>'
        for code, text in texts.items()
    )
    return f"<tu>{''.join(variants)}</tu>"


def escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def lines(pairs: list[Pair], side: int) -> str:
    return "".join(f"{pair[side]}\n" for pair in pairs)


@pytest.mark.parametrize("compression", ["", ".gz", ".zst"])
@pytest.mark.parametrize(
    "form", ["aligned", "tsv", "tsv with names", "csv", "jsonl", "parquet", "tmx"]
)
def test_every_format_gives_the_same_pairs(form: str, compression: str, tmp_path: Path) -> None:
    name = f"pairs.{form.split()[0]}{compression}"
    match form:
        case "aligned":
            files = [
                write(tmp_path / f"a.{ending}{compression}", lines(PAIRS, side))
                for side, ending in enumerate(("en", "de"))
            ]
            assert read(*files) == PAIRS
            return
        case "tsv":
            text = "".join(f"{s}\t{t}\tsomeone\n" for s, t in PAIRS)
        case "tsv with names":
            text = "target\tby\tsource\n" + "".join(f"{t}\tme\t{s}\r\n" for s, t in PAIRS)
        case "csv":
            rows = (f'"{s.replace(chr(34), chr(34) * 2)}","{t}"\n' for s, t in PAIRS)
            text = "source,target\n" + "".join(rows)
        case "jsonl":
            text = "".join(json.dumps({"source": s, "target": t, "n": 1}) + "\n" for s, t in PAIRS)
        case "tmx":
            text = tmx("".join(unit(en=escape(s), de=escape(t)) for s, t in PAIRS))
        case _:
            columns = {"source": [s for s, _ in PAIRS], "target": [t for _, t in PAIRS]}
            pq.write_table(pa.table(columns), tmp_path / "plain.parquet")
            data = (tmp_path / "plain.parquet").read_bytes()
            assert read(write(tmp_path / name, data)) == PAIRS
            return
    assert read(write(tmp_path / name, text)) == PAIRS


def test_fields_are_found_by_their_names_or_numbers(tmp_path: Path) -> None:
    records = write(tmp_path / "a.jsonl", '{"en": "one", "zh": "一"}\n{"en": "two", "zh": null}\n')
    chosen = {"source_field": "en", "target_field": "zh"}
    assert read(records, **chosen) == [("one", "一"), ("two", "")]
    table = write(tmp_path / "a.tsv", "to title\tlong\tshort\nto title\tlonger\tshorter\n")
    expected = [("long", "short"), ("longer", "shorter")]
    assert read(table, source_field="2", target_field="3") == expected
    named = write(tmp_path / "b.tsv", "\ufeffen\tzh\none\t一\n")
    assert read(named, **chosen) == [("one", "一")]
    with pytest.raises(
        InputError, match=r"no field 'eng'\. Did you mean 'en'.*source_field=\.\.\."
    ):
        read(named, source_field="eng", target_field="zh")
    with pytest.raises(InputError, match=r"no field 'target'.*It has: en, zh.*target_field"):
        read(records, source_field="en")
    with pytest.raises(InputError, match=r"has 3 columns in its first line, so no column 4"):
        read(table, source_field="1", target_field="4")
    with pytest.raises(InputError, match="so no column 0"):
        read(table, source_field="0", target_field="1")
    with pytest.raises(InputError, match=r"has 1 column .*so no column 2\. .*divided by tabs"):
        read(write(tmp_path / "c.tsv", "one 一\n"))


def test_a_field_inside_another_is_named_with_a_dot(tmp_path: Path) -> None:
    records = [{"id": "1", "translation": {"en": s, "de": t}} for s, t in PAIRS]
    jsonl = write(tmp_path / "a.jsonl", "".join(json.dumps(record) + "\n" for record in records))
    parquet = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(records), parquet)
    for path in (jsonl, parquet):
        assert read(path, source_field="translation.en", target_field="translation.de") == PAIRS
        with pytest.raises(InputError, match=r"It has: id, translation, translation\.(en|de)"):
            read(path)
    with pytest.raises(InputError, match=r"'translation' holds struct.*not text"):
        read(parquet, source_field="translation", target_field="translation.de")


def test_line_ends_and_marks_do_not_shift_a_side(tmp_path: Path) -> None:
    left = write(tmp_path / "a.en", "one\r\ntw\x0co\u2028\u0085\nth\rree\nfour")
    right = write(tmp_path / "a.de", "\ufeffeins\nzwei\ndrei\nvier\n".encode())
    assert read(left, right) == [
        ("one", "eins"),
        ("tw\x0co\u2028\u0085", "zwei"),
        ("th ree", "drei"),
        ("four", "vier"),
    ]


@pytest.mark.parametrize("lost", [0, 700, 1500, 1999])
@pytest.mark.parametrize("side", [0, 1])
def test_sides_of_unequal_length_name_the_place_where_they_drift(
    lost: int, side: int, tmp_path: Path
) -> None:
    text = (samples_folder() / "shakespeare.txt").read_text("utf-8").split("\n")
    spoken = [line for line in text if line][:2000]
    sides = [spoken, [f"{line}, {line[: len(line) // 2]}" for line in spoken]]
    del sides[side][lost]
    left = write(tmp_path / "a.en", "\n".join(sides[0]))
    right = write(tmp_path / "a.de", "\n".join(sides[1]))
    counts = r"2,000 lines and .* 1,999" if side else r"1,999 lines and .* 2,000"
    with pytest.raises(InputError, match=rf"a\.en' has {counts}\. They seem to ") as caught:
        read(left, right)
    message = str(caught.value)
    if lost == 1999:
        assert "match up to line 1,999, where the shorter one ends" in message
    else:
        place = int(message.split("at line ")[1].split(".")[0].replace(",", ""))
        assert abs(place - (lost + 1)) <= 2


def test_drift_is_found_between_noisy_lengths() -> None:
    random = np.random.default_rng(0)
    left = random.integers(20, 120, 5000)
    right = (left * 1.2 * random.lognormal(0, 0.2, 5000)).astype(int)
    found = [drift(left, np.delete(right, slice(place, place + 3))) for place in (50, 2500, 4900)]
    assert np.abs(np.array(found) - [50, 2500, 4900]).max() <= 5
    assert drift(np.array([], int), left) == 0


def test_a_text_file_without_a_partner_is_named(tmp_path: Path) -> None:
    one, two = write(tmp_path / "a.en", "x\n"), write(tmp_path / "b.tsv", "x\ty\n")
    for inputs in ([one], [one, two], [one, one, one]):
        with pytest.raises(InputError, match=r"a\.en' has no partner: .*two by two"):
            read(*inputs)
    assert read(one, one, two, one, one) == [("x", "x"), ("x", "y"), ("x", "x")]
    assert read(tmp_path) == [("x", "y")]  # a folder's aligned files must be named
    with pytest.raises(InputError, match=r"No file or folder.*Did you mean 'a\.en'"):
        read(tmp_path / "a.em", one)


@pytest.mark.parametrize(
    ("name", "broken", "reason"),
    [
        ("a.tsv", "x\ty\nonly one\nx\ty\none\ttwo\tthree\n", "1 columns, not 2"),
        ("a.csv", "source,target\na,b\nonly\na,b\nx,y,z\n", "1 fields, not 2"),
        (
            "a.jsonl",
            '{"source": "a", "target": "b"}\n{"source": "a"}\n{"source": "a", "target": "b"}\n{x}',
            "no field 'target'",
        ),
        (
            "b.jsonl",
            '{"source": "a", "target": "b"}\n[]\n{"source": "a", "target": "b"}\n'
            '{"source": [1], "target": "b"}\n',
            "not a JSON object",
        ),
    ],
)
def test_broken_records_are_counted_or_left_out(
    name: str, broken: str, reason: str, tmp_path: Path
) -> None:
    path = write(tmp_path / name, broken)
    places = "3, 5" if name == "a.csv" else "2, 4"
    with pytest.raises(InputError, match=rf"2 broken lines \(line {places}; the first: {reason}"):
        read(path)
    counts: Counter[str] = Counter()
    assert len(read(path, counts=counts, on_error="skip")) == 2
    assert counts["broken_records"] == 2


def test_languages_come_from_the_files_unless_they_are_set(tmp_path: Path) -> None:
    def found(*names: str, **settings: str) -> tuple[str | None, str | None]:
        paths = [str(write(tmp_path / name, "x\n")) for name in names]
        return find_languages(find_pairs(paths), CorpusSettings(**settings))  # type: ignore[arg-type]

    assert found("a.en", "a.de") == found("a.en.gz", "a.de.gz") == ("en", "de")
    assert found("a.zh-CN.txt", "a.lzh.txt") == ("zh", "lzh")
    assert found("a.txt", "b.txt") == found("a.src", "a.tgt") == (None, None)
    assert found("a.md", "b.py") == (None, None)
    assert found("a.en", "a.de", target_language="nl") == ("en", "nl")
    with pytest.raises(InputError, match=r"b\.de .*b\.en' goes from de to en.*Name the en file"):
        found("a.en", "a.de", "b.de", "b.en")


def test_a_translation_memory_keeps_the_text_of_inline_elements(tmp_path: Path) -> None:
    text = tmx(
        unit(de="Ein <hi>fetter</hi> Hund &amp; <ph x='1'>{0}</ph>", en_US="A <bpt i='1'/>bold dog")
        + unit(en="no German here")
        + unit(fr="un chien", de="ein Hund", en_GB="a dog", en_US="a dawg"),
        head='<!DOCTYPE tmx SYSTEM "tmx14.dtd">',
    )
    path = write(tmp_path / "a.tmx", text)
    assert find_languages(find_pairs([str(path)]), CorpusSettings()) == ("en", "de")
    assert read(path) == [
        ("A bold dog", "Ein fetter Hund & {0}"),
        ("no German here", ""),
        ("a dog", "ein Hund"),
    ]
    chosen = {"source_language": "de", "target_language": "en-US"}
    assert read(path, **chosen)[2] == ("ein Hund", "a dawg")
    assert read(write(tmp_path / "b.tmx", text.encode("utf-16")), **chosen)[2][1] == "a dawg"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (tmx(unit(en="x", de="y"))[:-30], r"damaged or no TMX file \(line 1"),
        (tmx(unit(en="a & b", de="y")), "damaged or no TMX file .*not well-formed"),
        ("plain text", "damaged or no TMX file"),
        (tmx(""), "no translation units"),
        (tmx(unit(en="x", de="y", fr="z")), r"texts in en, de, fr\. Name two"),
        (
            tmx(unit(en="&b;", de="y"), head='<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'),
            "declares entities",
        ),
        ('<?xml version="1.0" encoding="gb18030"?><tmx/>', "cannot be decoded|unknown encoding"),
    ],
)
def test_a_damaged_translation_memory_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read(write(tmp_path / "a.tmx", text))


def test_a_language_that_a_translation_memory_lacks_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tmx", tmx(unit(en="x", de="y")))
    with pytest.raises(InputError, match=r"no text in 'fr'.*It has: en, de"):
        read(path, target_language="fr")


def test_a_file_without_line_ends_is_no_aligned_file(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("xunlian.corpus.pairs.aligned._LONGEST_LINE", 1000)
    path = write(tmp_path / "a.en", "x" * 2000)
    with pytest.raises(InputError, match="a line of over 1,000 characters"):
        read(path, path)


def test_binary_and_unknown_bytes_are_named_with_their_file(tmp_path: Path) -> None:
    good = write(tmp_path / "a.en", "x\n")
    with pytest.raises(InputError, match=r"a\.de' is a binary file"):
        read(good, write(tmp_path / "a.de", b"\x00\x01"))
    with pytest.raises(InputError, match=r"b\.de' is binary, or text that is neither"):
        read(good, write(tmp_path / "b.de", "Männer".encode("latin-1")))
    with pytest.raises(InputError, match=r"c\.de\.gz' is damaged or cut short"):
        path = write(tmp_path / "c.de.gz", "Hund\n" * 100)
        path.write_bytes(path.read_bytes()[:-10])
        read(good, path)


def test_lists_are_sentences_of_a_source_and_several_targets(tmp_path: Path) -> None:
    rows = [
        {"source": ["One dog.", "Two cats."], "target": ["A", "B"]},
        {"source": ["天地玄黄。", "宇宙洪荒。"], "target": []},
        {"source": "One.", "target": "C"},
    ]
    path = write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    listed = [row for row in rows if isinstance(row["source"], list)]
    pq.write_table(pa.Table.from_pylist(listed), tmp_path / "a.parquet")
    expected = [("One dog. Two cats.", ["A", "B"]), ("天地玄黄。宇宙洪荒。", [""]), ("One.", ["C"])]
    for file, pairs in ((path, expected), (tmp_path / "a.parquet", expected[:2])):
        found = read_references(
            find_pairs([str(file)]), CorpusSettings(), (None, None), Counter(), lambda _: None
        )
        assert [(source, list(targets)) for source, targets in found] == pairs
        assert read(file) == [(source, targets[0]) for source, targets in pairs]


def test_a_null_in_a_list_is_an_empty_text(tmp_path: Path) -> None:
    rows = [{"source": ["One dog.", None, "Two cats."], "target": ["A", None]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == [("One dog.  Two cats.", "A")]
