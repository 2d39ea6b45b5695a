"""The verb: what it takes, what it says, and how it ends."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

import xunlian
from xunlian.commands.prepare import add_arguments, prepare_from_recipe, run
from xunlian.errors import InputError, XunlianError
from xunlian.recipe import load_recipe
from xunlian.shards.corpus import open_corpus


def command(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_intermixed_args([str(argument) for argument in arguments]))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("".join(f"line {i} of the text\n" for i in range(500)), "utf-8")
    return path


def test_options_and_settings_reach_the_corpus(text: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    status = command(
        text,
        "corpus.documents=line",
        "--out",
        out,
        "--val",
        "0.1",
        "--tokenizer",
        "bpe",
        "--vocab-size",
        "265",
        "tokenizer.sample_bytes=100000",
        "--workers",
        "2",
    )
    assert status == 0
    corpus = open_corpus(out)
    assert corpus.split_card("val")["documents"] == 50
    assert corpus.vocab_size == 265
    said = capsys.readouterr()
    assert said.out == "" and f"corpus.path={out}" in said.err and "450 documents" in said.err


def test_a_recipe_file_gives_sources_and_settings(text: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.toml").write_text(
        '[corpus]\nsources = ["text.txt"]\nval = "0.2"\ndocuments = "line"\n'
        '[tokenizer]\nkind = "char"\n'
    )
    corpus = xunlian.prepare("my.toml", out="out", overrides=["corpus.val=0.1"])
    assert corpus.split_card("val")["documents"] == 50
    assert corpus.card["tokenizer"]["kind"] == "char"
    again = prepare_from_recipe(load_recipe("my.toml"), Path("again"))
    assert again.split_card("val")["documents"] == 100


def test_a_shipped_sample_is_a_source(tmp_path: Path) -> None:
    corpus = xunlian.prepare("sample:songci.txt", out=tmp_path / "out", tokenizer="byte", val=0)
    assert corpus.card["sources"][0]["name"] == "sample:songci.txt"
    with pytest.raises(InputError, match=r"Did you mean 'songci\.txt'"):
        xunlian.prepare("sample:songce.txt", out=tmp_path / "out2")


def test_preparing_works_in_a_script_without_a_main_guard(text: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, xunlian\nprint(xunlian.prepare(sys.argv[1], out=sys.argv[2], workers=2).path)"
    )
    ran = subprocess.run(
        [sys.executable, str(script), str(text), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout.strip()) == (0, str(tmp_path / "out")), ran.stderr


def dying(module: str) -> "subprocess.Popen[bytes]":
    """A worker that ends with the first work it gets."""
    code = "import sys, os; sys.stdin.buffer.read(100); os._exit(9)"
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe)


def test_a_worker_that_dies_is_a_clear_failure(text: Path, tmp_path: Path, monkeypatch) -> None:
    from xunlian.corpus.engines import pool, rescue

    monkeypatch.setattr(pool, "start", dying)
    monkeypatch.setattr(rescue, "MOST_DEATHS", 2)
    text.with_name("more.txt").write_text("another text")
    with pytest.raises(XunlianError, match="--workers 1") as error:
        xunlian.prepare(text.parent, out=tmp_path / "out", workers=2)
    assert error.value.exit_status == 1
    assert not (tmp_path / "out").exists()


def test_a_worker_that_dies_while_pairs_are_encoded_is_a_clear_failure(
    tmp_path: Path, monkeypatch
) -> None:
    from xunlian.corpus.engines import workers

    monkeypatch.setattr(workers, "start", dying)
    sides = [tmp_path / "a.de", tmp_path / "a.en"]
    for path, words in zip(sides, ("Satz {} von vielen", "one sentence of many: {}"), strict=True):
        path.write_text("".join(words.format(i) + "\n" for i in range(500)), "utf-8")
    with pytest.raises(XunlianError, match="--workers 1") as error:
        xunlian.prepare(*sides, pairs=True, out=tmp_path / "out", tokenizer="byte", workers=2)
    assert error.value.exit_status == 1
    assert sorted(tmp_path.iterdir()) == sides


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.txt"], "No file or folder 'nothing.txt'"),
        (["nothing"], "No file, folder or shipped recipe 'nothing'"),
        (["nothing.toml"], "No recipe 'nothing.toml'"),
        (["text.txt", "corpus.text_feild=body"], "Did you mean 'corpus.text_field'"),
        (["text.txt", "training.seed=1"], "prepare takes keys of"),
        (["text.txt", "corpus.documents=page"], "corpus.documents"),
        (["text.txt", "--val", "1.5"], "from 0 to below 1"),
        (["text.txt", "--val", "missing.txt"], "No file or folder 'missing.txt'"),
        (["text.txt", "--tokenizer", "bqe"], "Did you mean 'bpe'"),
        (["text.txt", "--tokenizer", "text.txt"], "damaged or no tokenizer"),
        (["text.txt", "--vocab-size", "100000"], "supports"),
        (["text.txt", "--vocab-size", "10"], "too small"),
        (["text.txt", "--workers", "0"], "workers = 0"),
        (["text.txt", "corpus.encoding=utf9"], "is no encoding"),
    ],
)
def test_a_mistake_gets_one_line_and_leaves_nothing(
    arguments: list[str], message: str, text: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        command(*arguments, "--out", "out")
    assert message in str(error.value) and "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["text.txt"]


def test_a_read_only_place_is_said(text: Path, tmp_path: Path) -> None:
    import os

    (tmp_path / "locked").mkdir(mode=0o500)
    if os.access(tmp_path / "locked", os.W_OK):
        pytest.skip("this user may write anywhere")
    with pytest.raises(InputError, match="No permission"):
        command(text, "--out", tmp_path / "locked" / "out")


def test_a_file_in_the_way_of_the_folder_is_said(text: Path) -> None:
    with pytest.raises(InputError, match="in the way"):
        command(text, "--out", text / "out")


@pytest.fixture
def aligned(tmp_path: Path) -> list[Path]:
    """60 pairs to train on, English before German, and 3 to validate on."""
    paths = []
    for name, numbers in (("train", range(60)), ("val", range(100, 103))):
        for code, sentence in (("en", "There are {} dogs."), ("de", "Dort sind {} Hunde.")):
            paths.append(tmp_path / f"{name}.{code}")
            paths[-1].write_text("".join(sentence.format(i) + "\n" for i in numbers), "utf-8")
    return paths


def test_pairs_are_prepared_and_what_was_dropped_is_said(
    aligned: list[Path], tmp_path: Path, capsys
) -> None:
    train, val = aligned[:2], aligned[2:]
    with train[0].open("a") as source, train[1].open("a") as target:
        source.write("same\nThere are 3 dogs.\nThe word\n\n")
        target.write("same\nDort sind 3 Hunde.\nСлово\nempty\n")
    settings = ["tokenizer.kind=byte", "corpus.max_length_ratio=4"]
    out = tmp_path / "out"
    # Settings may stand anywhere, also behind the files of an option.
    arguments = ["--pairs", *train, settings[0], "--val", *val, settings[1], "--out", out]
    assert command(*arguments) == 0
    said = capsys.readouterr().err
    assert "60 pairs to train on, 3 to validate" in said
    assert "Left out: 1 empty source, 1 identical, 1 wrong language, 1 duplicates" in said
    assert "warning: 1 pair was dropped because a side is in another script" in said
    assert "source tokens to train on" in said and "target tokens to train on" in said
    corpus = open_corpus(out)
    assert corpus.card["reading"]["max_length_ratio"] == 4
    assert corpus.languages == {"source": "en", "target": "de"} and corpus.vocab_size == 258


def test_a_recipe_says_by_its_task_that_it_learns_from_pairs(
    aligned: list[Path], tmp_path: Path
) -> None:
    recipe = tmp_path / "my.toml"
    names = ", ".join(f'"{path}"' for path in aligned[:2])
    vals = ", ".join(f'"{path}"' for path in aligned[2:])
    recipe.write_text(
        f'task = "summarization"\n[corpus]\nsources = [{names}]\nval = [{vals}]\n'
        '[tokenizer]\nkind = "byte"\n'
    )
    assert command(recipe, "--out", tmp_path / "out") == 0
    corpus = open_corpus(tmp_path / "out")
    assert corpus.task == "summarization" and corpus.split_card("val")["pairs"] == 3
    others = [path.rename(tmp_path / f"other{path.suffix}") for path in aligned[2:]]
    assert command(recipe, "--val", *others, "--out", tmp_path / "two") == 0
    assert open_corpus(tmp_path / "two").card["val"][1]["name"] == str(others[1])
    with pytest.raises(InputError, match=r"goes from de to en, but the pairs go from en to de"):
        command(recipe, "--val", *reversed(others), "--out", tmp_path / "swapped")
    same = xunlian.prepare(
        *aligned[:2], out=tmp_path / "three", tokenizer="byte", overrides=["task=summarization"]
    )
    assert same.task == "summarization" and same.split_card("val")["pairs"] == 3


def test_pairs_for_a_task_that_learns_from_text_are_refused(
    aligned: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(
        InputError, match=r"shakespeare-char: task = language-model .*not from pairs"
    ):
        xunlian.prepare("shakespeare-char", pairs=True, out=out)
    with pytest.raises(InputError, match=r"task = language-model .*not from pairs"):
        xunlian.prepare(*aligned[:2], pairs=True, out=out, overrides=["task=language-model"])
    with pytest.raises(InputError, match=r"'x\.toml' stands beside --pairs"):
        command("x.toml", "--pairs", *aligned[:2], "--out", out)
    with pytest.raises(InputError, match="Nothing to prepare: name files"):
        command("--out", out)
    with pytest.raises(InputError, match=r"train\.en' has no partner"):
        command("--pairs", aligned[0], "--out", out)
    with pytest.raises(InputError, match="name files, or one fraction"):
        command("--pairs", *aligned[:2], "--val", "0.1", aligned[2], "--out", out)
    assert not out.exists()


def test_texts_may_stand_behind_the_validation_text(text: Path, tmp_path: Path) -> None:
    val = tmp_path / "val.txt"
    val.write_text("to validate on")
    command("--tokenizer", "byte", "--out", tmp_path / "out", "--val", val, text)
    assert open_corpus(tmp_path / "out").card["sources"] == [
        {"name": str(text), "bytes": text.stat().st_size}
    ]
    command(
        text,
        "--tokenizer",
        "byte",
        "--out",
        tmp_path / "two",
        "--val",
        "0.2",
        "task=language-model",
    )
    assert open_corpus(tmp_path / "two").card["val"] == "0.2"


def test_a_mixture_is_prepared_on_the_way_to_training(tmp_path: Path, monkeypatch) -> None:
    import torch

    from xunlian.commands.train import recipe_corpus
    from xunlian.training.parallel import Group

    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        Path(f"{name}.txt").write_text(f"text number {name}\n" * 300)
    Path("mixed.toml").write_text(
        '[corpus]\nval = "0.1"\nmixture = [{name = "a", sources = ["one.txt"], weight = 1}, '
        '{name = "b", sources = ["two.txt"], weight = 1}]\n[tokenizer]\nkind = "byte"\n'
    )
    group = Group(0, 1, torch.device("cpu"))
    corpus = recipe_corpus(load_recipe("mixed.toml"), "mixed", group)
    assert corpus.path == Path("corpora/mixed") and set(corpus.card["mixture"]) == {"a", "b"}


def test_a_dry_run_shows_and_writes_nothing(text: Path, tmp_path: Path, capsys) -> None:
    assert command(text, "corpus.documents=line", "--dry-run", "--show", "3") == 0
    shown = capsys.readouterr().out
    assert shown.count("kept as it is") == 4 and "line 2 of the text" in shown
    assert [p.name for p in tmp_path.iterdir()] == ["text.txt"]
    with pytest.raises(InputError, match="at least 1"):
        command(text, "--dry-run", "--show", "0")
    with pytest.raises(InputError, match="--out CORPUS"):
        command(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--address", "auto"], "add --engine ray"),
        (["--workers", "0"], "workers = 0"),
    ],
)
def test_an_engine_that_cannot_be_is_refused(
    text: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        command(text, "--out", tmp_path / "out", *options)


def test_documents_that_stay_of_a_cut_file_are_counted(tmp_path: Path, capsys) -> None:
    import gzip
    import random

    source = random.Random(1)
    lines = "".join(f'{{"text": "number {source.random()}"}}\n' for _ in range(20_000))
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(lines.encode())[:-2000])
    options = ["--on-error", "skip", "--val", "0", "--tokenizer", "byte"]
    assert command(tmp_path / "cut.jsonl.gz", "--out", tmp_path / "out", *options) == 0
    said = capsys.readouterr().err
    count = open_corpus(tmp_path / "out").split_card("train")["documents"]
    assert "cannot be read: 1 file." in said
    assert f"Of damaged files {count:,} documents before the damage stayed." in said


def test_what_could_not_be_read_and_what_stages_left_out_is_said(tmp_path: Path, capsys) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "cut.txt.gz").write_bytes(b"\x1f\x8b\x08 no gzip")
    (texts / "short.txt").write_text("Lorem ipsum.")
    (texts / "good.txt").write_text("A text that nobody has anything against.")
    options = ["--on-error", "skip", "--val", "0", "--tokenizer", "byte"]
    settings = ["corpus.quality.rules=[]", 'corpus.quality.keywords=["lorem ipsum"]']
    assert command(texts, *settings, "--out", tmp_path / "out", *options) == 0
    said = capsys.readouterr().err
    assert "Set aside because they cannot be read: 1 file." in said
    assert "Left out by the stages: 1 by quality." in said


def test_no_module_of_the_folder_it_is_started_in_runs(text: Path, tmp_path: Path) -> None:
    for name in ("orjson", "queue", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not mine')")
    command = [sys.executable, "-P", "-m", "xunlian", "prepare", str(text), "--out", "out"]
    done = subprocess.run([*command, "--workers", "2"], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr
