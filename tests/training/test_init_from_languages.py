"""BART, and translators that tell languages apart: from their folders to trained runs."""

from unittest import mock

import pytest
import torch
from brief import RATES, training_lines, validation_lines

import xunlian
from xunlian.cli import main
from xunlian.errors import InputError
from xunlian.interop.huggingface import load_model
from xunlian.shards.corpus import open_corpus
from xunlian.training import decisions

transformers = pytest.importorskip("transformers")
from made_languages import (  # noqa: E402
    LANGUAGE_KINDS,
    bart_tokenizer,
    language_tokenizer,
    save_language_folder,
)

NAMES = [*LANGUAGE_KINDS, "bart"]
WORDS = [
    "red",
    "green",
    "blue",
    "black",
    "white",
    "brown",
    "grey",
    "pink",
    "gold",
    "silver",
    "cyan",
    "azure",
    "olive",
    "plum",
]
PAIRS = [(f"{a} {b}", f"{b.upper()} {a.upper()}") for a in WORDS for b in WORDS if a != b]


def codes(name):
    return LANGUAGE_KINDS[name][2] if name in LANGUAGE_KINDS else (None, None)


def spoken(name):
    """As options of the Python API."""
    return dict(zip(("source_language", "target_language"), codes(name), strict=True))


def settings(name):
    """As settings of a recipe."""
    return [f"corpus.{key}={code}" for key, code in spoken(name).items() if code]


def their_tokenizer(name):
    return bart_tokenizer() if name == "bart" else language_tokenizer(name, *codes(name))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """name -> the folder, Transformers' model of it, and a corpus in its tokens."""
    place = tmp_path_factory.mktemp("languages")
    lines = [f"{source}\t{target}\n" for source, target in PAIRS]
    (place / "train.tsv").write_text("".join(lines[:-20]))
    (place / "val.tsv").write_text("".join(lines[-20:]))
    found = {}
    for name in NAMES:
        theirs = save_language_folder(place / name, name)
        corpus = xunlian.prepare(
            place / "train.tsv",
            pairs=True,
            val=place / "val.tsv",
            out=place / f"{name}-corpus",
            tokenizer=place / name,
            overrides=settings(name),
            workers=1,
        )
        found[name] = place / name, theirs, corpus.path
    return found


def start(folder, corpus, out, *more, budget="1 steps"):
    given = [
        f"corpus.path={corpus}",
        f"model.init_from={folder}",
        f"training.budget={budget}",
        "task=translation",
        "model.context=32",
        "model.dropout=0",
        "training.batch_tokens=512",
        "training.precision=fp32",
        "training.compile=off",
        "training.threads=1",
        "training.label_smoothing=0",
        *more,
    ]
    with mock.patch.object(decisions, "measure_rates", lambda device: RATES):
        return xunlian.train(xunlian.Recipe(), given, out=out)


@torch.no_grad()
def their_loss(model, name, pairs):
    """Mean over all target tokens, one pair at a time."""
    tokenizer = their_tokenizer(name)
    nats = tokens = 0
    for source, target in pairs:
        read = tokenizer(source, return_tensors="pt").input_ids
        said = tokenizer(text_target=target, return_tensors="pt").input_ids
        nats += model(input_ids=read, labels=said).loss.item() * said.numel()
        tokens += said.numel()
    return nats / tokens


@pytest.mark.parametrize("name", NAMES)
def test_pairs_are_prepared_as_the_model_read_them_and_have_its_loss(name, made):
    folder, theirs, path = made[name]
    corpus, tokenizer = open_corpus(path), their_tokenizer(name)
    for column, side in (("source", 0), ("target", 1)):
        key = {"source": "text", "target": "text_target"}[column]
        expected = [tokenizer(**{key: pair[side]}).input_ids for pair in PAIRS[-20:]]
        assert [d.tolist() for d in corpus.stream("val", column).documents()] == expected
    found = xunlian.evaluate(
        folder,
        path.parent / "val.tsv",
        [*settings(name), "training.precision=fp32", "decoding.max_tokens=4"],
        metrics="perplexity",
    )
    assert found["scores"]["loss"] == pytest.approx(their_loss(theirs, name, PAIRS[-20:]), abs=1e-4)


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_a_folder_translates_as_transformers_does(name, beam, made):
    folder, theirs, _ = made[name]
    texts = [source for source, _ in PAIRS[:3]]
    ours = xunlian.translate(
        folder, texts, beam=beam, max_tokens=11, **spoken(name), precision="fp32"
    )
    tokenizer, target = their_tokenizer(name), codes(name)[1]
    token = 0 if target is None else tokenizer.convert_tokens_to_ids(target)
    begin = "decoder_start_token_id" if name == "mbart-25" else "forced_bos_token_id"
    for text, found in zip(texts, ours, strict=True):
        ids = theirs.generate(
            **tokenizer(text, return_tensors="pt"),
            num_beams=beam,
            do_sample=False,
            max_new_tokens=11 if name == "mbart-25" else 12,
            **{begin: token},
        )
        assert found == tokenizer.decode(ids[0], skip_special_tokens=True).strip()


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_on_and_leaves_a_folder_that_transformers_uses_as_we_do(name, made, tmp_path):
    folder, theirs, corpus = made[name]
    run = start(
        folder,
        corpus,
        tmp_path / "run",
        "training.validate_every=10",
        "training.optimizer=adamw",
        "training.learning_rate=3e-3",
        budget="20 steps",
    )
    assert validation_lines(run)[-1]["val_loss"] < training_lines(run)[0]["loss"] - 0.3
    after, report = transformers.AutoModelForSeq2SeqLM.from_pretrained(
        run.model_folder, output_loading_info=True
    )
    assert type(after) is type(theirs)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert validation_lines(run)[-1]["val_loss"] == pytest.approx(
        their_loss(after.eval(), name, PAIRS[-20:]), abs=1e-4
    )
    ours = load_model(run.model_folder)
    source, target = torch.randint(3, 50, (2, 9)), torch.randint(3, 50, (2, 5))
    with torch.no_grad():
        hidden = ours(source, torch.zeros_like(source), target, torch.zeros_like(target))
        expected = after(input_ids=source, decoder_input_ids=target).logits
    torch.testing.assert_close(hidden @ ours.head_weight.t(), expected, atol=1e-4, rtol=0)
    # The run knows its languages; so do the files that Transformers reads.
    texts = [source for source, _ in PAIRS[:2]]
    said = xunlian.translate(run.path, texts, beam=2, max_tokens=11, precision="fp32")
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(run.model_folder)
    for text, found in zip(texts, said, strict=True):
        read = tokenizer(text, return_tensors="pt").input_ids
        assert read[0].tolist() == their_tokenizer(name)(text).input_ids
        ids = after.generate(
            input_ids=read,
            num_beams=2,
            do_sample=False,
            max_new_tokens=11 if name == "mbart-25" else 12,
        )
        assert found == tokenizer.decode(ids[0], skip_special_tokens=True).strip()


def test_languages_are_refused_in_one_line_where_they_are_missing_unknown_or_out_of_place(
    made, tmp_path, capsys
):
    folder, _, corpus = made["nllb"]

    def refused(*arguments):
        assert main(list(map(str, arguments))) == 2
        return " ".join(capsys.readouterr().err.split())

    (tmp_path / "line").write_text("red green\n")
    translate = ("translate", folder, "--input", tmp_path / "line")
    told = refused(*translate)
    assert "Say them with --source-language and --target-language; it has ace_Arab" in told
    assert "has no language 'en'" in refused(
        *translate, "--source-language=en", "--target-language=deu_Latn"
    )
    assert "does not tell languages apart" in refused(
        "translate", made["bart"][0], "--input", tmp_path / "line", "--source-language=en"
    )
    prepare = ("prepare", "--pairs", corpus.parent / "val.tsv", "--tokenizer", folder)
    told = refused(*prepare, "--out", tmp_path / "corpus")
    assert "corpus.source_language=... and corpus.target_language=..." in told
    assert not (tmp_path / "corpus").exists()
    with pytest.raises(InputError, match=r"Prepare the corpus again with --tokenizer"):
        other = xunlian.prepare(
            corpus.parent / "val.tsv",
            pairs=True,
            out=tmp_path / "plain",
            tokenizer=_copied(folder / "tokenizer.json", tmp_path),
            workers=1,
        )
        start(folder, other.path, tmp_path / "run")


def _copied(file, place):
    """A tokenizer.json without the model that it belongs to."""
    (place / file.name).write_bytes(file.read_bytes())
    return place / file.name
