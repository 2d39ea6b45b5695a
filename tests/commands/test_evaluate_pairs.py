"""evaluate of encoder-decoders: translations against sacreBLEU, prediction against Transformers."""

import json
import math
import random
from pathlib import Path

import orjson
import pytest
import sacrebleu
import torch
from conftest import TINY

import xunlian
from xunlian import cli
from xunlian.commands.evaluate import evaluate
from xunlian.errors import InputError
from xunlian.report.scores import table

WORDS = {
    "one": "eins", "two": "zwei", "three": "drei", "four": "vier", "five": "fünf",
    "dog": "Hund", "cat": "Katze", "house": "Haus", "tree": "Baum", "man": "Mann",
}  # fmt: skip
CHINESE = "天地玄黄宇宙洪荒日月盈昃"


def made_pairs(count, seed):
    """Word by word translations, each of three to six words."""
    chosen = random.Random(seed)
    sources = [" ".join(chosen.choices(list(WORDS), k=chosen.randint(3, 6))) for _ in range(count)]
    return [(source, " ".join(WORDS[word] for word in source.split())) for source in sources]


def write_sides(folder, pairs, name="val"):
    files = [folder / f"{name}.en", folder / f"{name}.de"]
    for file, side in zip(files, zip(*pairs, strict=True), strict=True):
        file.write_text("".join(f"{text}\n" for text in side), "utf-8")
    return files


def made_run(folder, *arguments, steps="training.budget=1 steps", **options):
    """A corpus of pairs and a run on it."""
    corpus = xunlian.prepare(*arguments, out=folder / "corpus", pairs=True, **options)
    overrides = [f"task={corpus.task}", f"corpus.path={corpus.path}", *TINY, steps]
    return xunlian.train(xunlian.Recipe(), overrides, out=folder / "run").path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The validation files of `run`."""
    return write_sides(tmp_path_factory.mktemp("pairs"), made_pairs(120, seed=2))


@pytest.fixture(scope="module")
def run(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    train = write_sides(folder, made_pairs(600, seed=1), "train")
    return made_run(folder, *train, val=files, vocab_size=300, steps="training.budget=150 steps")


@pytest.fixture(scope="module")
def summaries(tmp_path_factory):
    """A run of one step that has learned nothing, on abstracts and titles with many sentences."""
    folder = tmp_path_factory.mktemp("summaries")
    path = folder / "papers.jsonl"
    rows = [
        {
            "source": [f"Sentence {i} a.", f"Sentence {i} b.", f"Sentence {i} c.", "No more."],
            "target": [f"Sentence {i} a.", f"title {i}"][: 1 + i % 2],
        }
        for i in range(40)
    ]
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return made_run(folder, path, overrides=["task=summarization"]), path


def test_bleu_is_sacrebleus_of_what_translate_gives(run, files):
    result = evaluate(run, files, metrics="bleu,chrf,ter")
    sources, references = (file.read_text("utf-8").splitlines() for file in files)
    hypotheses = xunlian.translate(run, sources, precision="fp32")
    scores = result["scores"]
    assert scores["bleu"] == pytest.approx(
        sacrebleu.corpus_bleu(hypotheses, [references]).score, abs=1e-6
    )
    assert scores["chrf"] == pytest.approx(
        sacrebleu.corpus_chrf(hypotheses, [references]).score, abs=1e-6
    )
    assert scores["ter"] == pytest.approx(
        sacrebleu.corpus_ter(hypotheses, [references]).score, abs=1e-6
    )
    assert 5 < scores["bleu"] < 100  # it learned something, and not all: a comparison tells
    assert result["segments"] == 120 and result["language"] == "de"
    assert "tok:13a" in result["signatures"]["bleu"]
    assert "bs:1000" in result["signatures"]["bleu"]
    low, high = result["intervals"]["bleu"]
    assert low < scores["bleu"] < high


def test_perplexity_is_that_of_transformers_teacher_forced(run, files):
    import transformers

    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(run / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(run / "model")
    nats = tokens = 0
    pairs = list(zip(*(file.read_text("utf-8").splitlines() for file in files), strict=True))
    with torch.no_grad():
        for source, target in pairs:
            labels = tokenizer(target, return_tensors="pt").input_ids
            inputs = tokenizer(source, return_tensors="pt").input_ids
            nats += model(input_ids=inputs, labels=labels).loss.item() * labels.numel()
            tokens += labels.numel()
    result = evaluate(run, files, metrics="perplexity")
    assert result["tokens"] == tokens
    assert result["scores"]["loss"] == pytest.approx(nats / tokens, abs=1e-5)
    assert result["scores"]["perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-5)
    size = sum(len(target.encode()) for _, target in pairs)
    assert result["scores"]["bits_per_byte"] == pytest.approx(nats / size / math.log(2), rel=1e-5)


def test_the_runs_own_corpus_gives_what_its_files_give(run, files):
    own, named = evaluate(run), evaluate(run, files)
    assert own["scores"] == pytest.approx(named["scores"])
    assert set(own["scores"]) == {"bleu", "chrf", "loss", "perplexity", "bits_per_byte"}


def test_the_beam_of_the_recipe_is_used_and_can_be_overridden(run):
    assert "beam:5|" in evaluate(run, metrics="chrf")["signatures"]["decoding"]
    greedy = evaluate(run, overrides=["decoding.beam=1"], metrics="chrf")
    assert "beam:1|" in greedy["signatures"]["decoding"]
    assert evaluate(run, metrics="chrf", bootstrap=0)["intervals"] == {}


def test_hypotheses_are_written_on_the_lines_of_their_sources(run, tmp_path):
    source, target, out = tmp_path / "a.en", tmp_path / "a.de", tmp_path / "out.de"
    source.write_text("one dog\n\ntwo dog\n")
    target.write_text("eins Hund\nleer\nzwei Hund\n")
    result = evaluate(run, [source, target], output=out)
    lines = out.read_text("utf-8").split("\n")
    assert len(lines) == 4 and lines[1] == lines[3] == ""
    assert [lines[0], lines[2]] == xunlian.translate(run, ["one dog", "two dog"], precision="fp32")
    assert result["segments"] == 2 and result["intervals"] == {}


def test_several_references_are_read_from_lists(run, tmp_path):
    path = tmp_path / "several.jsonl"
    hypothesis = xunlian.translate(run, "one dog two cat", precision="fp32")
    rows = [
        {"source": "one dog two cat", "target": ["ganz anders hier jetzt", hypothesis]},
        {"source": ["one dog", "two cat"], "target": [hypothesis]},
    ]
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    result = evaluate(run, path, ["corpus.target_language=de"], metrics="bleu,rouge")
    assert result["scores"]["bleu"] == pytest.approx(100)
    assert result["scores"]["rouge1"] == pytest.approx(1)
    assert "nrefs:var" in result["signatures"]["bleu"]
    assert "nrefs:var" in result["signatures"]["rouge"]


def test_a_summary_stands_beside_the_first_sentences(summaries):
    run, path = summaries
    result = evaluate(run, path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    leads = [" ".join(row["source"][:3]) for row in rows]
    expected = xunlian.score(leads, [row["target"] for row in rows], ["rouge"], language="en")
    for name in ("rouge1", "rouge2", "rougeL", "rougeLsum"):
        assert result["baselines"]["lead-3"][name] == pytest.approx(expected[name])
    assert 0.3 < expected["rouge1"] < 1
    assert "lead-3" in table(result) and "0." in table(result)
    chinese = evaluate(run, path, ["corpus.target_language=zh"])
    assert list(chinese["baselines"]) == ["lead-1"]


def test_chinese_to_chinese_stands_beside_a_copy(tmp_path, capsys):
    path = tmp_path / "old.tsv"
    texts = ["".join(random.Random(i).choices(CHINESE, k=8)) for i in range(40)]
    path.write_text("".join(f"{text}\t{text[:6]}了\n" for text in texts), "utf-8")
    languages = ["corpus.source_language=lzh", "corpus.target_language=zh"]
    run = made_run(tmp_path, path, overrides=languages)
    result = evaluate(run, path, metrics="bleu")
    expected = sacrebleu.corpus_bleu(texts, [[f"{text[:6]}了" for text in texts]], tokenize="zh")
    assert result["baselines"]["copy"]["bleu"] == pytest.approx(expected.score, abs=1e-6)
    assert "tok:zh" in result["signatures"]["bleu"]
    assert result["scores"]["bleu"] < 5 < expected.score
    folder = evaluate(run / "model", path, metrics="bleu")
    assert folder["language"] == "zh" and "Scored as 'zh'" in capsys.readouterr().err


def test_nothing_but_empty_hypotheses_is_a_bleu_of_0(run, files, monkeypatch):
    from xunlian.decoding.translate import Loop, Translation

    monkeypatch.setattr(
        Loop, "lines", lambda self, texts, *_, **__: ([Translation("", 0.0)] for _ in texts)
    )
    result = evaluate(run, files, metrics="bleu,chrf,ter,rouge")
    assert result["scores"]["bleu"] == result["scores"]["chrf"] == 0
    assert result["scores"]["ter"] == 100 and result["scores"]["rougeL"] == 0
    assert result["intervals"]["bleu"] == (0, 0)


def test_pairs_longer_than_the_context_are_told(run, tmp_path):
    source, target = tmp_path / "a.en", tmp_path / "a.de"
    source.write_text("one dog\n" + "two dog. " * 40 + "\n")
    target.write_text("eins Hund\n" + "zwei Hund. " * 40 + "\n")
    result = evaluate(run, [source, target])
    assert result["left_out"] == 1 and result["segments"] == 2
    assert "1 pairs are longer" in table(result)
    only = evaluate(run, write_sides(tmp_path, [("one dog", "eins Hund")], "b"))
    for name in ("loss", "perplexity", "bits_per_byte"):
        assert result["scores"][name] == pytest.approx(only["scores"][name])


def test_the_table_has_intervals_and_json_is_whole(run, files, capsys):
    assert cli.main(["evaluate", str(run), "--data", *map(str, files)]) == 0
    text = capsys.readouterr().out
    assert "95% interval" in text and "* BLEU" in text and "perplexity per token" in text
    assert cli.main(["evaluate", str(run), "--json", "--bootstrap", "0"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["segments"] == 120 and printed["task"] == "translation"


def failing(*arguments, capsys):
    """The one line of a command that is refused with status 2."""
    capsys.readouterr()
    assert cli.main(["evaluate", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def test_what_is_wrong_is_named_with_its_mend(run, files, tiny_run, tmp_path, capsys):
    english, german = files
    short, blank = tmp_path / "short.de", tmp_path / "blank.de"
    short.write_text("eins\n")
    blank.write_text("\n" * 120)
    assert "no metric 'blue'. Did you mean 'bleu'?" in failing(
        run, "--metrics", "bleu,blue", capsys=capsys
    )
    message = failing(run, "--data", english, short, capsys=capsys)
    assert "120 lines" in message and "'" + str(short) in message
    assert "There is no pair" in failing(run, "--data", english, blank, capsys=capsys)
    assert "has no partner" in failing(run, "--data", english, capsys=capsys)
    assert "Name the en file first" in failing(run, "--data", german, english, capsys=capsys)
    assert "bootstrap=1" in failing(run, "--bootstrap", 1, capsys=capsys)
    assert "for language models" in failing(run, "--stride", 4, capsys=capsys)
    assert "decoding.beem" in failing(run, "decoding.beem=2", capsys=capsys)
    assert "is a language model" in failing(tiny_run, "--metrics", "bleu", capsys=capsys)
    assert "--output" in failing(tiny_run, "--output", tmp_path / "x", capsys=capsys)
    assert not Path(tmp_path / "x").exists()
    with pytest.raises(InputError, match="names no corpus"):
        evaluate(run / "model")
