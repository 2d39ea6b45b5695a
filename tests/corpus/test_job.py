"""A job in tasks: killed, changed, spread over processes and machines, it makes the same bytes."""

import hashlib
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import orjson
import pytest

from xunlian.corpus.build import build_corpus
from xunlian.corpus.columns import READ, ColumnWriter, apply, marker_path, surviving
from xunlian.corpus.engines.engine import Engine
from xunlian.corpus.line import Outcome, Stage, run_line
from xunlian.corpus.tally import Tally
from xunlian.errors import InputError
from xunlian.files import read_json
from xunlian.recipe.settings import Corpus as CorpusSettings
from xunlian.recipe.settings import Tokenizer as TokenizerSettings


def write_texts(folder: Path, files: int = 6, lines: int = 400) -> Path:
    folder.mkdir()
    for n in range(files):
        texts = (f"Text {i} of file {n}: " + "some words " * (i % 30) for i in range(lines))
        data = b"".join(orjson.dumps({"text": text}) + b"\n" for text in texts)
        (folder / f"{n}.jsonl").write_bytes(data)
    return folder


def settings(folder: Path, **more: str) -> CorpusSettings:
    return CorpusSettings(sources=(str(folder),), **more)  # type: ignore[arg-type]


BYTES = TokenizerSettings(kind="byte")


def fingerprint(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def times(work: Path, stage: str) -> list[int]:
    return [path.stat().st_mtime_ns for path in sorted((work / stage).glob("*.arrow"))]


# Kills itself and its workers when the third chunk is cleaned.
KILLED = """
import os, signal, sys, xunlian
from xunlian.corpus.runner import Runner

count, cleaned = Runner.count, []


def killing(runner, stage, chunk):
    count(runner, stage, chunk)
    cleaned.extend([chunk] * (stage == "clean"))
    if len(cleaned) == 3:
        os.killpg(0, signal.SIGKILL)


Runner.count = killing
xunlian.prepare(sys.argv[1], out=sys.argv[2], tokenizer="byte", workers=2)
"""


def test_a_killed_job_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "texts", files=10)
    out, work = tmp_path / "out", tmp_path / "out.work"
    command = [sys.executable, "-c", KILLED, str(texts), str(out)]
    job = subprocess.run(command, start_new_session=True, stderr=subprocess.DEVNULL)
    assert job.returncode == -signal.SIGKILL and not out.exists()
    done = {path: path.stat().st_mtime_ns for path in (work / "clean").glob("*.json")}
    build_corpus(settings(texts), BYTES, out, Engine(workers=2), work=work)
    assert 3 <= len(done) < 10
    assert all(path.stat().st_mtime_ns == time for path, time in done.items())
    whole = build_corpus(settings(texts), BYTES, tmp_path / "whole", Engine(workers=1))
    assert fingerprint(out) == fingerprint(whole.path)
    assert not (tmp_path / "whole.work").exists()


def test_only_what_differs_is_done_again(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "texts")
    work = tmp_path / "work"
    first = build_corpus(settings(texts), BYTES, tmp_path / "a", work=work)
    before = times(work, "clean"), times(work, "read")
    (texts / "3.jsonl").write_bytes(b'{"text": "another"}\n')
    build_corpus(settings(texts), BYTES, tmp_path / "b", work=work)
    again = [new != old for new, old in zip(times(work, "clean"), before[0], strict=True)]
    assert again == [False, False, False, True, False, False]
    same = build_corpus(settings(texts, val="0.2"), BYTES, tmp_path / "c", work=work)
    assert times(work, "read")[:3] == before[1][:3]
    assert same.tokens("val") > first.tokens("val")
    alone = build_corpus(settings(texts, val="0.2"), BYTES, tmp_path / "d")
    assert fingerprint(same.path) == fingerprint(alone.path)


def test_what_another_version_did_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, work = write_texts(tmp_path / "texts", files=2, lines=20), tmp_path / "work"
    build_corpus(settings(texts), BYTES, tmp_path / "a", work=work)
    before = times(work, "read")
    monkeypatch.setattr("xunlian.__version__", "99.0")
    build_corpus(settings(texts), BYTES, tmp_path / "b", work=work)
    again = times(work, "read")
    assert len(again) == 2 and not set(again) & set(before)


def test_two_jobs_do_not_share_a_folder(tmp_path: Path) -> None:
    from xunlian.corpus.work import work_folder

    with (
        work_folder(tmp_path / "out", None),
        pytest.raises(InputError, match="Another process works in"),
        work_folder(tmp_path / "out", None),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_what_is_done_stays_when_a_later_file_is_wrong(tmp_path: Path, capsys) -> None:
    texts = write_texts(tmp_path / "texts", files=3)
    (texts / "9.jsonl").write_bytes(b"broken\n")
    with pytest.raises(InputError, match=r"9\.jsonl' has 1 broken line"):
        build_corpus(settings(texts), BYTES, tmp_path / "out", Engine(workers=1))
    assert "start again to go on" in capsys.readouterr().err
    kept = times(tmp_path / "out.work", "read")
    (texts / "9.jsonl").write_bytes(b'{"text": "mended"}\n')
    build_corpus(settings(texts), BYTES, tmp_path / "out", work=tmp_path / "out.work")
    assert len(kept) == 3 and times(tmp_path / "out.work", "read")[:3] == kept


def test_kept_text_is_what_the_shards_hold(tmp_path: Path) -> None:
    import gzip

    texts = write_texts(tmp_path / "texts", files=2)
    long = "A line of a long document, e\u0301.\n" * 40_000
    (texts / "long.txt").write_text(long, "utf-8")
    corpus = build_corpus(settings(texts, val="0"), BYTES, tmp_path / "out", keep_text=True)
    lines = [
        orjson.loads(line)
        for path in sorted((corpus.path / "text").iterdir())
        for line in gzip.decompress(path.read_bytes()).splitlines()
    ]
    from xunlian.tokenizer.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(corpus.path)
    held = [tokenizer.decode(document) for document in corpus.stream("train").documents()]
    assert [line["text"] for line in lines] == held
    assert lines[0]["id"] == f"{texts / '0.jsonl'}#0" and lines[0]["source"] == str(
        texts / "0.jsonl"
    )
    assert lines[-1]["text"] == long.replace("e\u0301", "\u00e9")


# --- the line --------------------------------------------------------------------------------

ROWS = {
    "id": ["a", "b", "c", "c", "c", "d"],
    "text": ["one", "two bad", "three", "bad piece", "four", "five"],
    "first": [True, True, True, False, False, True],
    "last": [True, True, False, False, True, True],
    "kind": ["text"] * 6,
}


def read_into(work: Path) -> None:
    with ColumnWriter(work, "read", "0", READ) as writer:
        writer.write(ROWS)


def through(work: Path, made: list[str], *keys: str) -> None:
    run_line(stages(made), keys, work, "0", lambda amount: None)


def bad(rows):
    reasons = ["bad" if "bad" in text else None for text in rows["text"]]
    return Outcome(rows["text"], reasons, {"n": [len(text) for text in rows["text"]]}, Counter())


def loud(rows):
    return Outcome(
        [text.upper() for text in rows["text"]], [None] * len(rows["text"]), {}, {"upper": 1}
    )


def stages(made: list[str]) -> list[Stage]:
    import pyarrow as pa

    def make(name, function):
        def maker():
            made.append(name)
            return function

        return maker

    return [
        Stage("judge", None, [("n", pa.int64())], make("judge", bad)),
        Stage("loud", None, [], make("loud", loud)),
    ]


def test_a_row_keeps_its_place_through_the_stages(tmp_path: Path) -> None:
    from xunlian.corpus.columns import read_rows

    read_into(tmp_path)
    through(tmp_path, [], "1", "2")
    (rows,) = read_rows(tmp_path, ["read", "judge", "loud"], "0")
    assert rows["text"] == ["ONE", None, "THREE", None, "FOUR", "FIVE"]
    assert rows["n"] == [3, 7, 5, 9, 4, 4]
    left = list(surviving(iter([rows])))
    # What is left of a document with a gap are two documents.
    assert [(piece.text, piece.first, piece.last) for _, piece in left] == [
        ("ONE", True, True),
        ("THREE", True, True),
        ("FOUR", True, True),
        ("FIVE", True, True),
    ]
    judged = Tally.of(read_json(marker_path(tmp_path, "judge", "0")))
    assert judged.pieces == 6 and judged.left == 4 and judged.dropped == {"bad": 2}
    assert judged.examples == {"bad": [("b", "two bad"), ("c", "bad piece")]}
    assert Tally.of(read_json(marker_path(tmp_path, "loud", "0"))).changed == 4


def test_stages_are_done_again_from_the_first_whose_key_differs(tmp_path: Path) -> None:
    made: list[str] = []
    read_into(tmp_path)
    through(tmp_path, made, "1", "2")
    whole = fingerprint(tmp_path)
    through(tmp_path, made, "1", "2")
    assert made == ["judge", "loud"]
    through(tmp_path, made, "1", "3")
    assert made == ["judge", "loud", "loud"]
    through(tmp_path, made, "4", "5")
    assert made[3:] == ["judge", "loud"]
    arrows = {name: sha for name, sha in fingerprint(tmp_path).items() if name.endswith("arrow")}
    assert arrows == {name: sha for name, sha in whole.items() if name.endswith("arrow")}


def test_a_batch_of_which_nothing_is_left_goes_on_to_the_next_stage(tmp_path: Path) -> None:
    read_into(tmp_path)

    def none(rows):
        return Outcome(rows["text"], ["gone"] * len(rows["text"]), {}, {})

    import pyarrow as pa

    line = [
        Stage("none", None, [], lambda: none),
        Stage("judge", None, [("n", pa.int64())], lambda: bad),
    ]
    run_line(line, ["1", "2"], tmp_path, "0", lambda amount: None)
    assert Tally.of(read_json(marker_path(tmp_path, "judge", "0"))).left == 0


def test_a_marker_goes_before_its_file_is_written_anew(tmp_path: Path) -> None:
    from xunlian.corpus.columns import begin, is_done, mark_done

    mark_done(tmp_path, "tokens", "0", "old", {})
    assert is_done(tmp_path, "tokens", "0", "old")
    begin(tmp_path, "tokens", "0")  # then it is killed
    assert not is_done(tmp_path, "tokens", "0", "old")


def test_tallies_of_parts_add_up() -> None:
    first, second = Tally(), Tally()
    for tally, texts in ((first, "ab"), (second, "cde")):
        for text in texts:
            rows = {"id": [text], "text": [text], "first": [True], "last": [True]}
            tally.saw(rows)
            tally.drop("why", text, text)
            tally.leaves(apply(rows, {"text": [None], "dropped": ["why"]}))
    first.add(Tally.of(orjson.loads(orjson.dumps(second.plain()))))
    assert first.pieces == 5 and first.dropped["why"] == 5 and first.left == 0
    assert [text for _, text in first.examples["why"]] == list("abcde")


# --- Ray ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_ray_cluster_that_loses_a_machine_makes_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    import threading

    import ray
    from ray.cluster_utils import Cluster

    texts = write_texts(tmp_path / "texts", files=24, lines=3000)
    alone = build_corpus(settings(texts), BYTES, tmp_path / "alone", Engine(workers=1))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    ended = threading.Event()
    try:
        cluster.wait_for_nodes()
        work = tmp_path / "work"

        def lose() -> None:
            while len(list((work / "clean").glob("*.json"))) < 4:
                if ended.wait(0.02):
                    return
            cluster.remove_node(second, allow_graceful=False)

        killer = threading.Thread(target=lose, daemon=True)
        killer.start()
        engine = Engine("ray", address=cluster.address)
        spread = build_corpus(settings(texts), BYTES, tmp_path / "spread", engine, work=work)
        killer.join(timeout=60)
        assert not killer.is_alive(), "no machine was lost"
    finally:
        ended.set()
        ray.shutdown()
        cluster.shutdown()
    assert fingerprint(spread.path) == fingerprint(alone.path)
