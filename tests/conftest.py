"""What several tests need: a small corpus, and the program run as a user runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "samples"

# A network that trains in a second or two, in a form that every machine computes alike.
TINY = [
    "model.depth=2",
    "model.width=64",
    "model.context=32",
    "training.batch_tokens=512",
    "training.precision=fp32",
    "training.compile=off",
    "training.threads=1",
]


@pytest.fixture(autouse=True)
def no_profile(monkeypatch, tmp_path_factory) -> None:
    """What somebody tuned on this machine is not for the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True)
def seeded() -> None:
    """What a test draws does not depend on the tests that ran before it."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory) -> Path:
    """60,000 characters of Shakespeare."""
    path = tmp_path_factory.mktemp("text") / "tiny.txt"
    path.write_text((SAMPLES / "shakespeare.txt").read_text("utf-8")[:60_000], "utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_corpus(tiny_text, tmp_path_factory) -> Path:
    """The corpus of it, by characters, a tenth held out."""
    import xunlian

    out = tmp_path_factory.mktemp("corpora") / "tiny"
    xunlian.prepare(tiny_text, out=out, tokenizer="char", val=0.1)
    return out


@pytest.fixture(scope="session")
def tiny_run(tiny_corpus, tmp_path_factory) -> Path:
    """A finished run of 60 steps on it."""
    import xunlian

    out = tmp_path_factory.mktemp("runs") / "tiny"
    xunlian.train(
        xunlian.Recipe(), [f"corpus.path={tiny_corpus}", *TINY, "training.budget=60 steps"], out=out
    )
    return out


@pytest.fixture(scope="session")
def chat_run(tmp_path_factory) -> Path:
    """A run of 30 steps on conversations."""
    from made_preferences import start_run

    return start_run(tmp_path_factory.mktemp("chat_run"))


@pytest.fixture(scope="session")
def preferences(chat_run, tmp_path_factory):
    """The corpus of preferences in the tokens of `chat_run`, a tenth held out."""
    from made_preferences import prepared

    return prepared(tmp_path_factory.mktemp("preferences") / "corpus", chat_run)


@pytest.fixture(scope="module")
def no_measuring():
    """Trainings take this machine for one of known speed."""
    from brief import RATES

    from xunlian.training import decisions

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decisions, "measure_rates", lambda device: RATES)
        yield


@pytest.fixture(scope="session")
def backwards_corpus(tiny_run, tmp_path_factory) -> Path:
    """A text that `tiny_run` does not know, every line backwards, in its tokens."""
    import xunlian

    folder = tmp_path_factory.mktemp("backwards")
    lines = (SAMPLES / "shakespeare.txt").read_text("utf-8")[:60_000].splitlines()
    (folder / "text.txt").write_text("".join(line[::-1] + "\n" for line in lines), "utf-8")
    return xunlian.prepare(
        folder / "text.txt", out=folder / "corpus", tokenizer=str(tiny_run / "model"), val=0.1
    ).path


def shared_data(path: str) -> Path:
    """A file or folder of the data beside the repository; without it the test is skipped."""
    found = ROOT.parent / "shared" / "data" / path
    if not found.exists():
        pytest.skip(f"needs ../shared/data/{path}")
    return found


def xunlian_command(
    *arguments: object,
    cwd: Path | None = None,
    check: bool = False,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `xunlian ...` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "xunlian", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=check,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
    )
