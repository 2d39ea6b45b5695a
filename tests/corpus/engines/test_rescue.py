"""Processes that die over one file or document: it is found and set aside, the job goes on."""

import json
import os
import zipfile
from pathlib import Path

import pytest

from xunlian.corpus.build import build_corpus
from xunlian.corpus.engines.engine import Engine
from xunlian.corpus.engines.pool import Pool
from xunlian.corpus.engines.rescue import run_all
from xunlian.corpus.engines.tasks import Died, Task
from xunlian.corpus.trail import Trail
from xunlian.errors import InputError, XunlianError
from xunlian.recipe.settings import Corpus as CorpusSettings
from xunlian.recipe.settings import Tokenizer as TokenizerSettings
from xunlian.shards.corpus import Corpus
from xunlian.tokenizer.tokenizer import load_tokenizer

# Stand-ins for the libraries of a stage and of a reader, which crash on some texts.
OPENCC = """
import os, signal

class OpenCC:
    def __init__(self, name):
        pass

    def convert(self, text):
        if "boom" in text:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "odd" in text:
            raise KeyError("odd")
        return text
"""
PYPDF = """
import os, signal

class PdfReader:
    is_encrypted = False

    def __init__(self, file):
        self.text = file.read().decode()
        self.pages = [self]

    def extract_text(self):
        if "boom" in self.text:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.text
"""


@pytest.fixture
def fragile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "libraries"
    folder.mkdir()
    (folder / "opencc.py").write_text(OPENCC)
    (folder / "pypdf.py").write_text(PYPDF)
    monkeypatch.setenv("PYTHONPATH", str(folder))


def write(path: Path, texts: list[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")


def build(folder: Path, on_error: str, engine: Engine | None = None) -> Corpus:
    corpus = CorpusSettings(
        sources=(str(folder),),
        val="0",  # type: ignore[arg-type]
        on_error=on_error,  # type: ignore[arg-type]
        clean={"han": "simplified"},  # type: ignore[arg-type]
    )
    out = folder.parent / on_error
    return build_corpus(corpus, TokenizerSettings(kind="byte"), out, engine or Engine(workers=1))


def documents(corpus: Corpus) -> list[str]:
    tokenizer = load_tokenizer(corpus.path)
    return [tokenizer.decode(document) for document in corpus.stream("train").documents()]


FIRST = [f"第{i}篇 first" for i in range(40)]
SECOND = [f"第{i}篇 second" + {7: " boom", 8: " boom", 30: " odd"}.get(i, "") for i in range(40)]
LEFT = [text for text in [*FIRST, *SECOND] if "boom" not in text and "odd" not in text]


def test_documents_that_kill_a_stage_are_set_aside_and_all_others_stay(
    fragile: None, tmp_path: Path
) -> None:
    write(tmp_path / "in" / "a.jsonl", FIRST)
    write(tmp_path / "in" / "b.jsonl", SECOND)
    corpus = build(tmp_path / "in", "skip")
    assert documents(corpus) == LEFT
    assert corpus.card["stages"]["clean"]["dropped"] == {"crashed": 2, "failed": 1}
    assert "第7篇 second boom" in (corpus.path / "report.html").read_text("utf-8")


def test_the_first_document_that_kills_a_stage_stops_the_job_and_is_named(
    fragile: None, tmp_path: Path
) -> None:
    write(tmp_path / "in" / "a.jsonl", FIRST)
    write(tmp_path / "in" / "b.jsonl", SECOND)
    with pytest.raises(InputError) as error:
        build(tmp_path / "in", "stop")
    told = str(error.value)
    assert f"'{tmp_path}/in/b.jsonl#7' ends the process" in told and "SIGSEGV" in told
    assert "--on-error skip" in told and "\n" not in told
    done = tmp_path / "stop.work" / "clean"
    assert [path.name for path in done.glob("*.json")] == ["00000-0000.json"]


def test_a_document_on_which_a_library_fails_is_named(fragile: None, tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.jsonl", ["好 good", "奇 odd"])
    with pytest.raises(InputError, match=r"a\.jsonl#1' makes a library fail \(KeyError\('odd'\)\)"):
        build(tmp_path / "in", "stop")


def test_files_and_members_that_kill_a_reader_are_set_aside(fragile: None, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write(folder / "a.jsonl", FIRST)
    (folder / "b.pdf").write_text("boom")
    with zipfile.ZipFile(folder / "c.zip", "w") as file:
        for name, text in (("1.txt", "one"), ("2\n.pdf", "boom"), ("3.pdf", "three")):
            file.writestr(name, text)
    corpus = build(folder, "skip")
    assert documents(corpus) == [*FIRST, "one", "three"]
    aside = corpus.card["set_aside"]
    assert [name for name, *_ in aside] == [f"{folder}/b.pdf", f"{folder}/c.zip/2\n.pdf"]
    assert all("SIGKILL" in reason for *_, reason in aside)
    assert corpus.card["stages"]["read"]["changes"]["broken_files"] == 2
    with pytest.raises(InputError, match=r"b\.pdf' cannot be read.*SIGKILL.*--on-error skip"):
        build(folder, "stop")


@pytest.mark.slow
def test_ray_finds_what_kills_its_workers_too(fragile: None, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    write(tmp_path / "in" / "a.jsonl", FIRST)
    write(tmp_path / "in" / "b.jsonl", SECOND)
    try:
        corpus = build(tmp_path / "in", "skip", Engine("ray", workers=2))
    finally:
        ray.shutdown()
    assert documents(corpus) == LEFT
    assert corpus.card["stages"]["clean"]["dropped"] == {"crashed": 2, "failed": 1}


# --- the parts -------------------------------------------------------------------------------


def always_dies(tasks, told):
    for number in range(len(tasks)):
        yield number, Died("by SIGKILL")


def test_a_task_that_cannot_be_divided_is_tried_twice_and_named() -> None:
    tried = []

    def run(tasks, told):
        tried.extend(tasks)
        yield from always_dies(tasks, told)

    with pytest.raises(InputError, match=r"ended \(by SIGKILL\) each time at getcwd"):
        list(run_all(run, run, [Task("os:getcwd", {})], lambda amount: None))
    assert len(tried) == 2


def test_a_task_that_died_for_want_of_memory_is_done_alone() -> None:
    def alone(tasks, told):
        for number, task in enumerate(tasks):
            yield number, task.arguments["n"]

    def run(tasks, told):
        yield 0, "first"
        yield from ((number, Died("by SIGKILL")) for number in (1, 2))

    tasks = [Task("os:getcwd", {"n": n}) for n in range(3)]
    assert list(run_all(run, alone, tasks, lambda amount: None)) == [(0, "first"), (1, 1), (2, 2)]


def test_a_trail_names_what_came_last(tmp_path: Path) -> None:
    def begin() -> Trail:
        return Trail(tmp_path / "trail", {"start": "one", "how": "by SIGSEGV"})

    trail = begin()
    for place in ("a", "b\n\t", "c"):
        trail.at(place)
    trail = begin()  # the process died
    assert trail.culprits == {"c": "by SIGSEGV"}
    trail.at("d")
    trail = begin()
    assert list(trail.culprits) == ["c", "d"]
    with pytest.raises(XunlianError, match="before it had begun with anything"):
        begin()
    # Another start of the job knows nothing: the one before may have been killed for any reason.
    with Trail(tmp_path / "trail", {"start": "two", "how": "by SIGKILL"}) as trail:
        assert trail.culprits == {}
    assert not (tmp_path / "trail").exists()


MODULE = """
def hoard(told):
    bytearray(6 << 30)

def say(told):
    import logging, os
    logging.getLogger("library").warning("noise")
    return os.getpid()

def leave(told):
    import os
    os._exit(3)

def grow(told):
    import os
    global kept
    kept = b"x" * (600 << 20)
    return os.getpid()
"""


def test_a_worker_has_bounded_memory_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "helpers.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Pool(1) as pool:
        (result,) = pool.run([Task("helpers:leave", {})], print)
        assert result == (0, Died("with status 3"))
        (first,), (second,) = (pool.run([Task("helpers:say", {})], print) for _ in range(2))
        assert first == second and first[1] != os.getpid()  # a process serves the whole job
        assert capfd.readouterr().err == ""
        with pytest.raises(XunlianError, match="MemoryError"):
            list(pool.run([Task("helpers:hoard", {})], print))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_a_process_that_has_grown_makes_room_for_a_fresh_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "helpers.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Pool(1) as pool:
        tasks = [Task(f"helpers:{name}", {}) for name in ("say", "grow", "say")]
        pids = dict(pool.run(tasks, print))
    assert pids[0] == pids[1] != pids[2]
