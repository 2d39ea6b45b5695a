"""The command line: verbs, exit statuses, one line for a mistake."""

import pytest
from conftest import TINY, xunlian_command

import xunlian
from xunlian.cli import VERBS, main
from xunlian.errors import InputError


def one_line(text: str) -> str:
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]


def test_help_names_every_verb(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(verb in shown for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, capsys):
    with pytest.raises(SystemExit) as caught:
        main([verb, "--help"])
    assert caught.value.code == 0
    assert "usage" in capsys.readouterr().out


def test_every_verb_is_also_a_function():
    for verb in set(VERBS) - {"recipe"}:
        assert callable(getattr(xunlian, verb))
    assert callable(xunlian.load)


def test_train_help_explains_every_setting(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = capsys.readouterr().out
    assert "training.budget" in shown and "decoding.top_p" in shown and "corpus.val" in shown


def test_a_misspelt_verb_gets_the_nearest(capsys):
    assert main(["trian"]) == 2
    assert "train" in one_line(capsys.readouterr().err)


def test_a_misspelt_option_is_one_line(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", "run", "--strid"])
    assert caught.value.code == 2
    one_line(capsys.readouterr().err)


def test_recipe_list_shows_the_shipped_recipes(capsys):
    assert main(["recipe", "list"]) == 0
    shown = capsys.readouterr().out
    assert "demo-en" in shown and "demo-zh" in shown
    assert main(["recipe", "demo-zh"]) == 0
    assert "sample:songci.txt" in capsys.readouterr().out


def test_doctor_measures_and_chooses():
    found = xunlian.doctor()
    assert found["matmul_rate"]["fp32"] > 1e8
    assert found["precision"] in ("bf16", "fp32")
    assert found["cores"] >= 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "demo-engl"], ["demo-engl", "demo-en"]),
        (["train", "small"], ["prepare", "corpus.path"]),
        (["train", "small", "trainig.budget=3"], ["trainig.budget", "training.budget"]),
        (["train", "small", "training.seed=x"], ["training.seed"]),
        (["train", "small", "corpus.path=nowhere"], ["nowhere"]),
        (["train", "small", "--resume"], ["small", "--out"]),
        (["train", "nowhere", "--resume"], ["nowhere"]),
        (["generate", "nowhere", "--prompt", "x"], ["nowhere"]),
        (["evaluate", "nowhere"], ["nowhere"]),
        (["info", "nowhere"], ["nowhere"]),
    ],
)
def test_a_mistake_ends_with_status_2_and_one_line(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    line = one_line(capsys.readouterr().err)
    for word in words:
        assert word in line
    assert list(tmp_path.iterdir()) == []


def refused(corpus, tmp_path, *settings: str) -> str:
    """The message of a training that must be refused and leave nothing behind."""
    with pytest.raises(InputError) as caught:
        xunlian.train("small", [f"corpus.path={corpus}", *TINY, *settings], out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    return str(caught.value)


def test_a_text_shorter_than_a_context_is_refused(tmp_path):
    (tmp_path / "short.txt").write_text("A short text, but a text it is.\n" * 3)
    xunlian.prepare(tmp_path / "short.txt", out=tmp_path / "corpus", tokenizer="byte")
    message = refused(
        tmp_path / "corpus", tmp_path, "model.context=256", "training.batch_tokens=256"
    )
    assert "model.context" in message


def test_a_size_that_does_not_fit_in_memory_is_refused_before_allocating(tiny_corpus, tmp_path):
    message = refused(tiny_corpus, tmp_path, "model.depth=80", "model.width=8192")
    assert "memory" in message and "model.size" in message and "GB" in message


def test_a_batch_that_does_not_divide_is_refused_with_the_nearest(tiny_corpus, tmp_path):
    assert "use 96" in refused(tiny_corpus, tmp_path, "training.batch_tokens=100")


def test_heads_that_do_not_go_together_are_refused(tiny_corpus, tmp_path):
    assert "kv_heads" in refused(tiny_corpus, tmp_path, "model.heads=4", "model.kv_heads=3")


@pytest.mark.parametrize("suffix", [".bin", ".idx"])
def test_a_damaged_shard_is_refused_by_name(tiny_corpus, tmp_path, suffix):
    import shutil

    corpus = tmp_path / "corpus"
    shutil.copytree(tiny_corpus, corpus)
    shard = next(corpus.glob(f"train-*{suffix}"))
    data = bytearray(shard.read_bytes())
    data[-3] ^= 255
    shard.write_bytes(data)
    assert shard.name in refused(corpus, tmp_path)


def test_a_read_only_output_folder_is_refused(tiny_corpus, tmp_path, monkeypatch):
    from pathlib import Path

    def read_only(self, *_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "mkdir", read_only)
    assert "permission" in refused(tiny_corpus, tmp_path).lower()


def test_a_full_disk_ends_with_status_1_and_a_good_older_checkpoint(tiny_corpus, tmp_path):
    """On a real file system of one megabyte, where this user may mount one."""
    import subprocess

    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(small)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a small file system")
    try:
        done = xunlian_command(
            "train",
            "small",
            f"corpus.path={tiny_corpus}",
            *TINY,
            "training.budget=100 steps",
            "training.checkpoint_every=5",
            "training.keep_checkpoints=9",
            "--out",
            small / "run",
        )
        assert done.returncode == 1, done.stderr
        assert "disk is full" in done.stderr and "Traceback" not in done.stderr
        from xunlian.training.checkpoint import load_checkpoint

        assert load_checkpoint(small / "run" / "checkpoints")[2]["step"] % 5 == 0
    finally:
        subprocess.run(["umount", str(small)], check=False)


def test_the_module_runs_as_torchrun_needs_it():
    done = xunlian_command("--version")
    assert done.returncode == 0 and xunlian.__version__ in done.stdout
