"""evaluate end to end: a run, a model folder, files of any kind, and what is refused."""

import gzip
import json
import math
import shutil

import orjson
import pytest
import torch
from made_run import CONTEXT, TRAIN, VAL, byte_tokenizer, make_corpus, make_model, make_run, tree

import xunlian
from xunlian import cli
from xunlian.commands.evaluate import evaluate
from xunlian.errors import InputError
from xunlian.report.scores import table


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("evaluate") / "tales")


@pytest.fixture(scope="module")
def run(corpus):
    return make_run(corpus.parent / "tales-1", corpus)


@pytest.fixture
def data(tmp_path):
    """The validation documents as a .jsonl file."""
    path = tmp_path / "val.jsonl"
    path.write_bytes(b"".join(orjson.dumps({"text": text}) + b"\n" for text in VAL))
    return path


@torch.no_grad()
def transformers_nats(folder, texts, stride):
    """The slow way: Transformers, one document at a time, whole logits."""
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer, nats = byte_tokenizer(), 0.0
    for text in texts:
        row = torch.tensor([tokenizer.end_id, *tokenizer.encode(text), tokenizer.end_id])
        scored = 0
        for begin in range(0, len(row) - 1, stride):
            stop = min(begin + CONTEXT, len(row) - 1)
            losses = torch.nn.functional.cross_entropy(
                model(row[None, begin:stop]).logits[0].double(),
                row[begin + 1 : stop + 1],
                reduction="none",
            )
            nats += losses[scored - begin :].sum().item()
            scored = stop
            if stop == len(row) - 1:
                break
    return nats


def test_scores_are_those_of_transformers_spread_over_the_text(run):
    result = evaluate(run)
    nats = transformers_nats(run / "model", VAL, CONTEXT // 2)
    size = len("".join(VAL).encode())
    assert result["tokens"] == size + 3  # bytes, and an end for each document
    scores = result["scores"]
    assert scores["loss"] == pytest.approx(nats / (size + 3), abs=1e-5)
    assert scores["perplexity"] == pytest.approx(math.exp(nats / (size + 3)), rel=1e-5)
    assert scores["bits_per_byte"] == pytest.approx(nats / size / math.log(2), rel=1e-5)
    assert scores["character_perplexity"] == pytest.approx(
        math.exp(nats / len("".join(VAL))), rel=1e-5
    )
    words = sum(len(text.split()) for text in VAL)
    assert scores["word_perplexity"] == pytest.approx(math.exp(nats / words), rel=1e-4)


def test_the_signature_tells_how_it_was_scored(run):
    fingerprint = byte_tokenizer().fingerprint[:12]
    assert evaluate(run, stride=8)["signatures"]["perplexity"] == (
        f"xunlian-{xunlian.__version__}|context:32|stride:8|unit:token|end:scored|precision:fp32|"
        f"tokenizer:{fingerprint}"
    )
    assert (
        "precision:bf16"
        in evaluate(run, overrides=["training.precision=bf16"])["signatures"]["perplexity"]
    )


def test_a_smaller_stride_agrees_with_transformers_too(run):
    loss = evaluate(run, stride=5)["scores"]["loss"]
    nats = transformers_nats(run / "model", VAL, 5)
    assert loss == pytest.approx(nats / (len("".join(VAL).encode()) + 3), abs=1e-5)


def test_files_give_the_same_scores_as_the_corpus_made_of_them(run, data):
    from_corpus, from_file = evaluate(run), evaluate(run, data)
    assert from_file["scores"]["loss"] == pytest.approx(from_corpus["scores"]["loss"], abs=1e-6)
    for key in ("tokens", "documents", "bytes", "characters"):
        assert from_file[key] == from_corpus[key]
    assert from_file["data"] == str(data)


def test_text_is_cleaned_and_unpacked_as_prepare_does(run, tmp_path):
    plain, packed = tmp_path / "a.txt", tmp_path / "b.txt.gz"
    plain.write_bytes(VAL[0].encode())
    packed.write_bytes(gzip.compress(b"\xef\xbb\xbf" + VAL[0].replace("\n", "\r\n").encode()))
    assert evaluate(run, plain)["scores"] == evaluate(run, packed)["scores"]
    both = evaluate(run, [plain, packed])
    assert both["documents"] == 2
    assert both["scores"]["loss"] == pytest.approx(evaluate(run, plain)["scores"]["loss"])


def test_a_field_is_named_by_an_override(run, tmp_path, capsys):
    path = tmp_path / "body.jsonl"
    path.write_text('{"body": "Once upon a time"}\n')
    assert evaluate(run, path, ["corpus.text_field=body"])["characters"] == 16
    for order in (
        ["--data", path, "corpus.text_field=body"],
        ["corpus.text_field=body", "--data", path],
    ):
        assert cli.main(["evaluate", str(run), *map(str, order), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["characters"] == 16


def test_another_corpus_may_be_named(run, tmp_path):
    other = make_corpus(tmp_path / "other", val=TRAIN)
    assert evaluate(run, other)["tokens"] == len("".join(TRAIN).encode()) + 3


def test_a_model_folder_needs_data(run, data, tmp_path):
    folder = make_model(tmp_path / "model")
    assert evaluate(folder, data)["scores"] == evaluate(run, data)["scores"]
    with pytest.raises(InputError, match="--data"):
        evaluate(folder)


def test_json_has_full_precision_and_the_table_is_for_people(run, capsys):
    assert cli.main(["evaluate", str(run), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == evaluate(run)
    assert set(printed["scores"]) == {
        "loss",
        "perplexity",
        "word_perplexity",
        "character_perplexity",
        "bits_per_byte",
    }
    assert cli.main(["evaluate", str(run)]) == 0
    text = capsys.readouterr().out
    assert "bits per byte" in text and "stride:16" in text


def test_the_table_puts_words_first_for_english_and_characters_for_chinese(run, tmp_path):
    for text, first in (
        ("There was a king who had three daughters.", "per word"),
        ("我们的生活比从前好得多了，天还没有亮，他便起来了。", "per character"),
    ):
        path = tmp_path / "text.txt"
        path.write_text(text, "utf-8")
        marked = [line for line in table(evaluate(run, path)).splitlines() if line[:1] == "*"]
        assert len(marked) == 1 and first in marked[0]


def test_evaluating_leaves_no_file_behind(run, data, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    before = tree(run.parent)
    evaluate(run, data)
    assert tree(run.parent) == before
    assert list((tmp_path / "scratch").iterdir()) == []


def failing(*arguments, capsys):
    """The one line of a command that is refused with status 2."""
    assert cli.main(["evaluate", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def test_what_is_wrong_is_named_with_its_mend(run, corpus, tmp_path, capsys):
    empty, blank = tmp_path / "empty.txt", tmp_path / "blank.txt"
    empty.write_text("")
    blank.write_text(" \n\n")
    assert "no metric 'perplexty'. Did you mean 'perplexity'?" in failing(
        run, "--metrics", "perplexty", capsys=capsys
    )
    assert "use 1 to 32" in failing(run, "--stride", 33, capsys=capsys)
    assert "use 1 to 32" in failing(run, "--stride", 0, capsys=capsys)
    assert "'nothing.txt'" in failing(run, "--data", "nothing.txt", capsys=capsys)
    assert "empty" in failing(run, "--data", empty, capsys=capsys)
    assert "no text" in failing(run, "--data", blank, capsys=capsys)
    assert "tales-2" in failing(corpus.parent / "tales-2", capsys=capsys)
    assert "is a corpus" in failing(corpus, capsys=capsys)
    assert "training.precison" in failing(run, "training.precison=fp32", capsys=capsys)


def test_a_corpus_that_is_gone_damaged_foreign_or_empty_is_named(tmp_path, capsys):
    corpus = make_corpus(tmp_path / "tales")
    run = make_run(tmp_path / "tales-1", corpus)
    kept = tmp_path / "kept"
    shutil.copytree(corpus, kept)
    shard = corpus / "val-00000.bin"
    shard.write_bytes(shard.read_bytes()[::-1])
    capsys.readouterr()
    assert "val-00000.bin' is damaged" in failing(run, capsys=capsys)
    shutil.rmtree(corpus)
    assert f"'{corpus}', is not there" in failing(run, capsys=capsys)
    make_corpus(corpus, val=[])
    assert "no validation text" in failing(run, capsys=capsys)
    shutil.rmtree(corpus)
    from xunlian.tokenizer.train import train_tokenizer

    make_corpus(corpus, tokenizer=train_tokenizer(iter(TRAIN), "char", 300, shrink=True))
    assert "another tokenizer" in failing(run, capsys=capsys)
    assert evaluate(run, kept)["documents"] == 3


def test_help_explains_the_options(capsys):
    with pytest.raises(SystemExit) as status:
        cli.main(["evaluate", "--help"])
    assert status.value.code == 0
    text = capsys.readouterr().out
    assert "--stride" in text and "corpus.text_field" in text
