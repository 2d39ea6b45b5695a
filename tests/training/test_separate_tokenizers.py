"""A tokenizer for each side, from files of pairs to translations, here and in Transformers."""

import gzip
from itertools import islice

import pytest
import torch
from brief import RATES
from conftest import SAMPLES, TINY

import xunlian
from xunlian.cli import main
from xunlian.errors import InputError
from xunlian.shards.corpus import open_corpus
from xunlian.tokenizer.sides import load_sides
from xunlian.training import decisions


@pytest.fixture(scope="module")
def tatoeba(tmp_path_factory):
    """A corpus of 600 short pairs, English to Chinese, with two tokenizers."""
    folder = tmp_path_factory.mktemp("tatoeba")
    with gzip.open(SAMPLES / "tatoeba.en-zh.tsv.gz", "rt", encoding="utf-8") as file:
        pairs = [line.split("\t")[:2] for line in islice(file, 1000, 1600)]
    for column, language in enumerate(("en", "zh")):
        (folder / f"all.{language}").write_text("".join(f"{p[column]}\n" for p in pairs), "utf-8")
    corpus = xunlian.prepare(
        folder / "all.en",
        folder / "all.zh",
        pairs=True,
        out=folder / "corpus",
        overrides=["tokenizer.separate=true"],
        workers=1,
    )
    return corpus.path


@pytest.fixture(scope="module")
def runs(tatoeba, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")

    def run(family):
        if not (out / family).exists():
            settings = [f"corpus.path={tatoeba}", *TINY, "task=translation"]
            kind = "architecture" if family == "marian" else "family"
            settings += ["training.budget=30 steps", f"model.{kind}={family}"]
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(decisions, "measure_rates", lambda device: RATES)
                xunlian.train(xunlian.Recipe(), settings, out=out / family)
        return out / family

    return run


def test_the_corpus_gives_back_both_sides(tatoeba, capsys):
    corpus, sides = open_corpus(tatoeba), load_sides(tatoeba)
    assert corpus.vocab_size == sides.vocab_size and corpus.card["tokenizer"]["separate"]
    source, target = (next(corpus.stream("train", c).documents()) for c in ("source", "target"))
    assert source.max() < sides.source.vocab_size
    assert sorted(target)[1] >= sides.source.vocab_size  # all but the end token
    assert main(["info", str(tatoeba), "--show", "1"]) == 0
    shown = capsys.readouterr().out
    assert sides.source.decode(source) in shown and sides.target.decode(target) in shown


def test_a_changed_target_tokenizer_is_noticed(tatoeba, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(tatoeba, copy)
    file = copy / "target" / "tokenizer.json"
    file.write_text(
        file.read_text("utf-8").replace('"byte_fallback": false', '"byte_fallback": true')
    )
    with pytest.raises(InputError, match="not the tokenizer"):
        open_corpus(copy)


@pytest.mark.parametrize("layout", ["transformer", "marian"])
@pytest.mark.parametrize("beam", [1, 5])
def test_transformers_translates_alike_with_both_tokenizers(runs, beam, layout):
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    folder = runs(layout) / "model"
    texts = ["I like tea.", "Where is the station?"]
    ours = xunlian.load(folder, precision="fp32").translate(texts, beam=beam, max_tokens=10)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    source = AutoTokenizer.from_pretrained(folder)
    target = AutoTokenizer.from_pretrained(folder, subfolder="target")
    for text, translation in zip(texts, ours, strict=True):
        with torch.no_grad():
            found = model.generate(
                **source(text, return_tensors="pt", return_token_type_ids=False),
                num_beams=beam,
                max_new_tokens=10,
            )
        assert target.decode(found[0], skip_special_tokens=True) == translation
    assert any(ours)


@pytest.mark.parametrize("family", ["transformer", "lstm"])
def test_everything_on_the_way_knows_both(runs, tatoeba, tmp_path, capsys, family):
    run = runs(family)
    (tmp_path / "in.en").write_text("I like tea.\n")
    arguments = ["--input", str(tmp_path / "in.en"), "--alignment", "--prefix", "我"]
    assert main(["translate", str(run), *arguments]) == 0
    assert capsys.readouterr().out.startswith("我")
    found = xunlian.evaluate(run, metrics=["bleu", "perplexity"])
    assert 0 < found["scores"]["perplexity"] < 2000
    # The same pairs from files, which are tokenized anew, give the same.
    corpus, sides = open_corpus(tatoeba), load_sides(tatoeba)
    for column, language in (("source", "en"), ("target", "zh")):
        texts = [
            sides.of(column).decode(tokens) for tokens in corpus.stream("val", column).documents()
        ]
        (tmp_path / f"a.{language}").write_text("".join(f"{text}\n" for text in texts), "utf-8")
    by_files = xunlian.evaluate(run, [tmp_path / "a.en", tmp_path / "a.zh"], metrics=["perplexity"])
    assert by_files["scores"]["perplexity"] == pytest.approx(found["scores"]["perplexity"])
    first = next(corpus.stream("val", "source").documents())
    assert sides.source.decode(first) in (run / "report.html").read_text("utf-8")


def test_two_tokenizers_cannot_be_one_that_is_given(tatoeba, tmp_path):
    (tmp_path / "a.en").write_text("".join(f"number {i}\n" for i in range(40)))
    (tmp_path / "a.zh").write_text("".join(f"第{i}号\n" for i in range(40)))
    with pytest.raises(InputError, match=r"tokenizer.separate = true makes two"):
        xunlian.prepare(
            tmp_path / "a.en",
            tmp_path / "a.zh",
            pairs=True,
            out=tmp_path / "corpus",
            tokenizer=tatoeba / "tokenizer.json",
            overrides=["tokenizer.separate=true"],
        )
    assert not (tmp_path / "corpus").exists()


def test_both_tokenizers_of_a_model_serve_another_corpus(runs, tatoeba, tmp_path):
    """As the message of a corpus with another tokenizer advises."""
    (tmp_path / "a.en").write_text("".join(f"I like tea {i}.\n" for i in range(40)))
    (tmp_path / "a.zh").write_text("".join(f"我喜欢茶{i}。\n" for i in range(40)))
    corpus = xunlian.prepare(
        tmp_path / "a.en",
        tmp_path / "a.zh",
        pairs=True,
        out=tmp_path / "corpus",
        tokenizer=runs("transformer") / "model",
        workers=1,
    )
    assert corpus.tokenizer_fingerprint == open_corpus(tatoeba).tokenizer_fingerprint
    assert corpus.card["tokenizer"]["separate"]


def test_a_text_has_one_tokenizer(tiny_text, tmp_path):
    with pytest.raises(InputError, match="for pairs; a text has one"):
        xunlian.prepare(tiny_text, out=tmp_path / "c", overrides=["tokenizer.separate=true"])
    assert not (tmp_path / "c").exists()
