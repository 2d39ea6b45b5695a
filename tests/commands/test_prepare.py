"""The verb: what it takes, what it says, and how it ends."""

import argparse
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
    import subprocess
    import sys

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


def test_a_worker_that_dies_is_a_clear_failure(text: Path, tmp_path: Path, monkeypatch) -> None:
    import subprocess
    import sys

    from xunlian.corpus import workers

    def dying() -> "subprocess.Popen[bytes]":
        code = "import sys, os; sys.stdin.buffer.read(100); os._exit(9)"
        pipe = subprocess.PIPE
        return subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe)

    monkeypatch.setattr(workers, "_start", dying)
    with pytest.raises(XunlianError, match="--workers 1") as error:
        xunlian.prepare(text, out=tmp_path / "out", workers=2)
    assert error.value.exit_status == 1
    assert not (tmp_path / "out").exists()


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
