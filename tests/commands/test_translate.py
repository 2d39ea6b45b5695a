"""translate and summarize as a user runs them: lines in, lines out, and one line for a mistake."""

import io
import json

import pytest
from made_run import make_model, make_translator

import xunlian
from xunlian import cli
from xunlian.decoding import translate as loop
from xunlian.decoding.alignment import count_units
from xunlian.decoding.sentences import join_texts, parts_that_fit
from xunlian.errors import InputError

FP32 = ["--precision", "fp32"]
LINES = ["a cat", "", "the mat. a dog!", "   ", "人有猫", "cat a the dog mat", "a"]
LONG = "a cat sat on the mat. the dog ran! 人有猫。猫有人。 a dog sat on a cat."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_translator(tmp_path_factory.mktemp("pegasus"), LONG)


@pytest.fixture(scope="module")
def model(folder):
    return xunlian.load(folder, precision="fp32")


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("language"))


@pytest.fixture
def typed(monkeypatch):
    """Give standard input these bytes."""
    return lambda raw: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(raw)))


def said(verb, *arguments, capsys):
    assert cli.main([verb, *map(str, arguments), *FP32]) == 0
    return capsys.readouterr().out.split("\n")[:-1]


def failing(verb, *arguments, capsys):
    """The one line of a command that is refused with status 2."""
    try:
        status = cli.main([verb, *map(str, arguments)])
    except SystemExit as error:  # argparse
        status = error.code
    out, err = capsys.readouterr()
    assert (status, out) == (2, "") and err.count("\n") == 1
    return err


def test_lines_are_translated_in_order_and_empty_ones_stay_empty(folder, model, typed, capsys):
    typed("\n".join(LINES).encode())
    found = said("translate", folder, capsys=capsys)
    assert found == [model.translate(line) for line in LINES]
    assert [line == "" for line in found] == [not line.strip() for line in LINES]


def test_translations_are_those_of_transformers(folder, model):
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    peer = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder)
    for line in filter(str.strip, LINES):
        batch = tokenizer(line, return_tensors="pt", return_token_type_ids=False)
        out = peer.generate(**batch, num_beams=5)
        text = tokenizer.decode(out[0], skip_special_tokens=True).strip()
        assert model.translate(line, max_tokens=200) == text


def test_small_windows_give_the_same_lines_in_the_same_order(model):
    search = model.search()
    texts = [" ".join(LINES[i:j]) for i in range(4) for j in range(i, 6)]
    at_once = list(model.loop.lines(texts, search, loop.Notes()))
    read = []

    def watched():
        for text in texts:
            read.append(text)
            yield text

    windows = model.loop.lines(watched(), search, loop.Notes(), window=3)
    for number, found in enumerate(windows):
        assert len(read) <= 3 * (number // 3 + 1)
        assert [t.text for t in found] == [t.text for t in at_once[number]]


def test_n_best_scores_and_alignment_are_printed_as_marian_does(folder, model, tmp_path, capsys):
    file = tmp_path / "in.txt"
    file.write_bytes("\ufeffa cat\r\n\r\n人".encode())
    best = model.translate("a cat", nbest=3)
    found = said("translate", folder, "--input", file, "--nbest", 3, capsys=capsys)
    assert [line.split(" ||| ")[:2] for line in found[:3]] == [["0", text] for text in best]
    assert [line.split(" ||| ")[0] for line in found] == [*"000111222"]
    scores = [float(line.split(" ||| ")[2]) for line in found[:3]]
    assert scores == sorted(scores, reverse=True)
    found = said("translate", folder, "--input", file, "--scores", capsys=capsys)
    assert found[0] == f"{scores[0]:.6f}\t{best[0]}" and found[1] == "0.000000\t"
    found = said("translate", folder, "--input", file, "--alignment", capsys=capsys)
    assert len(found) == 3 and found[1] == " ||| "
    text, pairs = found[0].split(" ||| ")
    assert text == best[0]
    assert all(0 <= int(pair.split("-")[0]) < 2 for pair in pairs.split())


def test_json_has_a_line_for_each_line(folder, model, tmp_path, capsys):
    file = tmp_path / "in.txt"
    file.write_text("a cat\n\n")
    found = said("translate", folder, "--input", file, "--json", capsys=capsys)
    assert [json.loads(line)["text"] for line in found] == [model.translate("a cat"), ""]
    flags = ["--input", file, "--json", "--nbest", 2, "--alignment"]
    first = json.loads(said("translate", folder, *flags, capsys=capsys)[0])
    assert first["line"] == 0 and len(first["results"]) == 2
    assert set(first["results"][0]) == {"text", "score", "alignment"}


def test_a_prefix_begins_every_line(folder, model, tmp_path, capsys):
    file = tmp_path / "in.txt"
    file.write_text("a cat\nthe mat\n")
    found = said("translate", folder, "--input", file, "--prefix", "the", capsys=capsys)
    assert all(line.startswith("the") for line in found)
    assert found == model.translate(["a cat", "the mat"], prefix="the")


def test_a_prefix_begins_only_the_first_part_of_a_text_that_is_split(model):
    def translated(texts, prefix=""):
        search = model.search(prefix=prefix, alignment=True)
        return [best for (best,) in model.loop.lines(texts, search, loop.Notes())]

    tokenizer = model.loaded.tokenizer
    tokens, _ = parts_that_fit(LONG, tokenizer.encode, model.engine.config.context - 1)
    parts = [tokenizer.decode(part) for part in tokens]
    assert len(parts) > 2
    alone = [*translated(parts[:1], "the"), *translated(parts[1:])]
    pairs, source, target = [], 0, 0
    for part, found in zip(parts, alone, strict=True):
        pairs += [(s + source, t + target) for s, t in found.alignment]
        source, target = source + count_units(part), target + count_units(found.text)
    (whole,) = translated([LONG], "the")
    assert whole.text == join_texts([found.text for found in alone])
    assert whole.alignment == tuple(pairs)


def test_a_long_text_is_split_by_translate_and_cut_by_summarize(folder, model, tmp_path, capsys):
    file = tmp_path / "in.txt"
    file.write_text(f"a\n{LONG}\n", "utf-8")
    for verb, told in (("translate", "split at sentence ends"), ("summarize", "cut")):
        assert cli.main([verb, str(folder), "--input", str(file), *FP32]) == 0
        out, err = capsys.readouterr()
        assert out.count("\n") == 2 and out.split("\n")[1]
        assert f"1 source was {told}" in err and "32 tokens" in err
    cut = model.loaded.tokenizer.decode(model.loaded.tokenizer.encode(LONG)[:31])
    assert model.summarize(LONG) == model.summarize(cut)


def test_the_functions_are_the_verbs(folder, model):
    assert xunlian.translate(folder, "a cat", precision="fp32") == model.translate("a cat")
    several = xunlian.summarize(folder, ["a", ""], nbest=2, beam=2, precision="fp32")
    assert several == model.summarize(["a", ""], nbest=2, beam=2)
    assert [len(texts) for texts in several] == [2, 2]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--beam", "0"], ["decoding.beam", "1"]),
        (["--beam", "100000"], ["beam = 100000", "vocabulary"]),
        (["--beam", "x"], ["--beam", "invalid int"]),
        (["--nbest", "6"], ["nbest = 6", "beam of 5"]),
        (["--nbest", "0"], ["nbest = 0"]),
        (["--length-penalty", "nan"], ["decoding.length_penalty"]),
        (["--length-penalty", "99"], ["decoding.length_penalty", "10"]),
        (["--max-tokens", "0"], ["decoding.max_tokens"]),
        (["--prefix", "a" * 40], ["prefix has 40 tokens"]),
        (["--prefix", "\udcff"], ["prefix", "not UTF-8"]),
        (["--precision", "int8"], ["--precision", "int8"]),
        (["--input", "nowhere.txt"], ["no input file 'nowhere.txt'"]),
        (["--input", "."], ["'.'"]),
        (["--bem", "2"], ["--bem"]),
    ],
)
def test_a_mistake_gets_one_line(folder, typed, capsys, flags, words):
    typed(b"a\n")
    told = failing("translate", folder, *flags, capsys=capsys)
    assert all(word in told for word in words), told


def test_a_line_that_is_not_utf8_is_named(folder, typed, tmp_path, capsys):
    typed(b"a\nb\xff\n")
    assert "Line 2 of standard input is not UTF-8" in failing("translate", folder, capsys=capsys)
    (tmp_path / "in").write_bytes(b"\xff")
    told = failing("translate", folder, "--input", tmp_path / "in", capsys=capsys)
    assert f"Line 1 of '{tmp_path / 'in'}'" in told


def test_nothing_in_gives_nothing_out(folder, typed, capsys):
    typed(b"")
    assert said("translate", folder, capsys=capsys) == []


def test_each_kind_of_model_names_the_verbs_that_take_it(folder, language_model, typed, capsys):
    typed(b"a\n")
    assert "is a language model" in failing("translate", language_model, capsys=capsys)
    assert "is a language model" in failing("summarize", language_model, capsys=capsys)
    assert "`xunlian translate`" in failing("generate", folder, "--prompt", "a", capsys=capsys)
    with pytest.raises(InputError, match="no language model"):
        xunlian.load(folder, precision="fp32").generate("a")
    with pytest.raises(InputError, match="cannot translate"):
        xunlian.load(language_model, precision="fp32").translate("a")


def test_a_missing_run_is_named(typed, capsys):
    assert "There is no run 'nowhere'" in failing("translate", "nowhere", capsys=capsys)


def test_a_model_without_a_start_token_is_refused(folder, tmp_path, capsys):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for name in ("config.json", "generation_config.json"):
        fields = json.loads((tmp_path / name).read_text())
        fields["decoder_start_token_id"] = 10_000
        (tmp_path / name).write_text(json.dumps(fields))
    assert "decoder_start_token_id" in failing("translate", tmp_path, capsys=capsys)
