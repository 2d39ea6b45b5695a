"""backtranslate as a user runs it: text in, pairs out that `prepare` takes beside others."""

import io

import pytest
from made_run import make_translator

import xunlian
from xunlian import cli
from xunlian.decoding import translate as loop

TEXT = "a cat sat on the mat. the dog ran! 人有猫。猫有人。 a dog sat on a cat."
LINES = ["a cat", "", "the mat. a dog!", "   ", "人有猫\ta", "cat a the dog mat", "a"]
KEPT = ["a cat", "the mat. a dog!", "人有猫 a", "cat a the dog mat", "a"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_translator(tmp_path_factory.mktemp("pegasus"), TEXT)


@pytest.fixture
def pairs(folder, monkeypatch, capsys):
    """The rows that these bytes on standard input give."""

    def run(raw, *flags):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(raw)))
        assert cli.main(["backtranslate", str(folder), "--precision", "fp32", *flags]) == 0
        return [line.split("\t") for line in capsys.readouterr().out.split("\n")[:-1]]

    return run


@pytest.mark.parametrize("beam", [1, 3])
def test_each_text_is_the_target_of_its_translation(folder, pairs, beam):
    sources = xunlian.translate(folder, KEPT, beam=beam, precision="fp32")
    assert all(source and source != text for source, text in zip(sources, KEPT, strict=True))
    expected = [[source, text] for source, text in zip(sources, KEPT, strict=True)]
    assert pairs("\r\n".join(LINES).encode(), *([] if beam == 1 else ["--beam=3"])) == expected
    found = xunlian.backtranslate(folder, LINES, beam=beam, precision="fp32")
    assert list(map(list, found)) == expected


def test_windows_keep_texts_and_translations_together(pairs, monkeypatch):
    text = "\n".join(LINES * 3).encode()
    at_once = pairs(text)
    monkeypatch.setattr(loop.Loop.lines, "__kwdefaults__", {"window": 2, "watch": lambda _: None})
    assert pairs(text) == at_once and len(at_once) == 3 * len(KEPT)


def test_an_empty_or_copied_translation_is_left_out(pairs, monkeypatch):
    said = {"a": "", "b": "b", "c": "d"}

    def lines(self, texts, search, notes, **_):
        return ([loop.Translation(said[text], 0.0)] for text in texts)

    monkeypatch.setattr(loop.Loop, "lines", lines)
    assert pairs(b"a\nb\nc\n") == [["d", "c"]]


def test_prepare_takes_the_pairs_beside_others(folder, pairs, tmp_path):
    rows = pairs("\n".join(KEPT).encode())
    (tmp_path / "more.tsv").write_text("".join("\t".join(row) + "\n" for row in rows), "utf-8")
    (tmp_path / "own.tsv").write_text("".join(f"the cat {i}\tdie Katze {i}\n" for i in range(30)))
    files = [tmp_path / name for name in ("own.tsv", "more.tsv")]
    settings = ["corpus.max_length_ratio=0", "tokenizer.kind=char"]
    corpus = tmp_path / "corpus"
    xunlian.prepare(*files, out=corpus, pairs=True, val=0, overrides=settings)
    documents = xunlian.info(corpus, show=40)["documents"]
    assert [document["text"].split("\t") for document in documents[30:]] == rows


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--beam", "0"], ["decoding.beam"]),
        (["--input", "nowhere"], ["no input file 'nowhere'"]),
    ],
)
def test_a_mistake_gets_one_line(folder, capsys, flags, words):
    assert cli.main(["backtranslate", str(folder), *flags]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and all(word in err for word in words)
