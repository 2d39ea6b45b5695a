"""Duplicates found in bounded memory, against the slow way: every pair compared."""

import csv
import gzip
import json
import random
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import orjson
import pytest
from conftest import shared_data
from made_duplicates import (
    jaccard,
    similar_pairs,
    wikinews,
    with_near_duplicates,
    zhwiki,
)

from xunlian.corpus.duplicates import clusters
from xunlian.corpus.duplicates import match as dedup_match
from xunlian.corpus.duplicates.files import Work, write_signatures
from xunlian.corpus.duplicates.find import (
    EXACT,
    NEAR,
    dropped,
    dropped_paragraphs,
    find_duplicates,
    statistics,
    steps,
)
from xunlian.corpus.duplicates.tasks import task_of
from xunlian.corpus.engines.tasks import Task, carry_out
from xunlian.corpus.stages.exact import without_paragraphs
from xunlian.recipe.corpus_dedup import Deduplicate

SETTINGS = Deduplicate(paragraphs=0)


def sign_tasks(
    folder: Path, texts: list[str], tasks: int, settings: Deduplicate = SETTINGS
) -> list[list[str]]:
    folder.mkdir(exist_ok=True)
    bounds = [len(texts) * i // tasks for i in range(tasks + 1)]
    parts = [texts[a:b] for a, b in pairwise(bounds)]
    for task, part in enumerate(parts):
        batches = [part[i : i + 7] for i in range(0, len(part), 7)]
        write_signatures(batches, folder, task, settings)
    return parts


def found(
    folder: Path,
    texts: list[str],
    tasks: int = 1,
    settings: Deduplicate = SETTINGS,
    records: int = 1 << 22,
) -> dict[int, tuple[int, str, float]]:
    """Document that goes -> (its copy, reason, similarity), by their places in `texts`."""
    parts = sign_tasks(folder, texts, tasks, settings)
    find_duplicates(folder, tasks, settings, records)
    starts = np.cumsum([0] + [len(part) for part in parts])
    result = {}
    for task in range(tasks):
        drops = dropped(folder, tasks, task)
        for row, reason, similarity, copy in zip(
            drops.rows.tolist(), drops.reasons, drops.similarities, drops.copy_of, strict=True
        ):
            result[row + int(starts[task])] = (
                int(starts[copy[0]] + copy[1]),
                reason,
                float(similarity),
            )
    return result


WORDS = [f"w{i}" for i in range(5000)]


def made(count: int, seed: int = 1) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randrange(20, 300))) for _ in range(count)]


def test_exact_copies_go_and_the_first_stays(tmp_path: Path) -> None:
    texts = ["a b c", "x", "A  b c ", "y", "a b c!", "x", "a b c", "", " "]
    settings = Deduplicate(similarity=1, paragraphs=0)
    expected = {i: (j, EXACT, 1.0) for i, j in {2: 0, 5: 1, 6: 0, 8: 7}.items()}
    assert found(tmp_path / "one", texts, 1, settings) == expected
    many = found(tmp_path / "many", texts, 5, settings)
    assert {i: many[i][0] for i in many} == {2: 0, 5: 1, 6: 0, 8: 7}


def test_the_longest_of_near_duplicates_stays(tmp_path: Path) -> None:
    base = made(1)[0].split()
    assert len(base) > 40
    versions = [" ".join(base[: len(base) - cut]) for cut in (2, 0, 3, 1)]
    result = found(tmp_path, [*versions, "quite another text of some more words"])
    assert {i: result[i][:2] for i in result} == dict.fromkeys((0, 2, 3), (1, NEAR))
    for i, (j, _, similarity) in result.items():
        assert similarity == pytest.approx(jaccard(versions[i], versions[j]))


def test_a_chain_of_small_changes_does_not_drop_what_is_unlike_all_that_stays(
    tmp_path: Path,
) -> None:
    words = made(1, 5)[0].split() * 2
    chain = [" ".join(words[i * 8 : i * 8 + 120]) for i in range(20)]
    result = found(tmp_path, chain)
    assert len(result) > 8
    for i, (j, _, similarity) in result.items():
        assert j not in result
        assert similarity == pytest.approx(jaccard(chain[i], chain[j]))
        assert similarity >= 0.8 - 1e-9


def test_long_chains_are_settled_along_their_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = random.Random(5).choices(WORDS, k=2000)
    chain = [" ".join(words[i * 8 : i * 8 + 120]) for i in range(200)]
    chain += [" ".join(words[i * 8 : i * 8 + 124]) for i in range(0, 200, 9)]
    result = found(tmp_path / "chain", chain)
    assert len(result) > 80
    for i, (j, _, similarity) in result.items():
        assert j not in result and len(chain[j].split()) >= len(chain[i].split())
        assert similarity == pytest.approx(jaccard(chain[i], chain[j])) and similarity >= 0.8 - 1e-9
    stay = [text for i, text in enumerate(chain) if i not in result]
    assert not similar_pairs(stay, 0.8)
    # Not the work of the other way: it would take a round for every document that stays.
    monkeypatch.setattr(clusters, "_by_pairs", lambda work, documents: pytest.fail("used"))
    with pytest.raises(pytest.fail.Exception):
        found(tmp_path / "again", chain)


def test_the_result_depends_neither_on_tasks_nor_on_the_records_in_memory(tmp_path: Path) -> None:
    texts = with_near_duplicates(made(60), 2)
    texts += random.Random(4).sample(texts, 20)
    expected = found(tmp_path / "1", texts)
    assert len(expected) > 30
    for tasks, records in ((7, 1 << 22), (40, 1 << 22), (1, 50), (5, 20)):
        result = found(tmp_path / f"{tasks}-{records}", texts, tasks, SETTINGS, records)
        assert {i: expected[i][1:] for i in expected} == {i: result[i][1:] for i in result}


def test_the_texts_kept_do_not_depend_on_their_order(tmp_path: Path) -> None:
    texts = with_near_duplicates(made(150), 3)
    texts += random.Random(4).sample(texts, 40)
    kept = []
    for seed in range(3):
        random.Random(seed).shuffle(texts)
        gone = found(tmp_path / str(seed), texts, 3)
        # Of exact copies the first stays, whatever its white space.
        kept.append(sorted(" ".join(t.split()) for i, t in enumerate(texts) if i not in gone))
    assert kept[0] == kept[1] == kept[2]


def test_jobs_may_run_in_any_order_elsewhere_and_are_not_done_twice(tmp_path: Path) -> None:
    texts = with_near_duplicates(made(80), 6)
    expected = found(tmp_path / "in_order", texts, 3)
    folder = tmp_path / "shuffled"
    sign_tasks(folder, texts, 3)
    for _, jobs in steps(folder, 3, SETTINGS, 100):
        random.Random(1).shuffle(jobs)
        for job in jobs:
            task = Task(**orjson.loads(orjson.dumps(task_of(job)._asdict())))
            task.arguments["work"] = ""
            carry_out(task, lambda amount: None)
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    (folder / "choose-00000.bin").unlink()
    find_duplicates(folder, 3, SETTINGS, 100)
    redone = {p.name for p in folder.iterdir() if times.get(p) != p.stat().st_mtime_ns}
    assert redone == {"choose-00000.bin"}
    rows = [(t, r) for t in range(3) for r in dropped(folder, 3, t).rows.tolist()]
    assert len(rows) == len(expected)


def test_later_copies_of_long_lines_go(tmp_path: Path) -> None:
    boilerplate = "Subscribe to our newsletter and never miss any of our stories again."
    texts = [
        f"alpha beta\n{boilerplate}\ngamma",
        f"{boilerplate.upper()}\ndelta\nshort\n{boilerplate}",
        "short\nshort",
        f"alpha beta\n{boilerplate}\ngamma",  # an exact copy: it goes as a whole
        boilerplate,
    ]
    settings = Deduplicate(paragraphs=40)
    for tasks in (1, 5):
        folder = tmp_path / str(tasks)
        parts = sign_tasks(folder, texts, tasks, settings)
        find_duplicates(folder, tasks, settings)
        kept = []
        for task, part in enumerate(parts):
            lines = dropped_paragraphs(folder, tasks, task)
            kept += [without_paragraphs(text, lines.get(i, [])) for i, text in enumerate(part)]
        assert kept == [texts[0], "delta\nshort", texts[2], texts[3], ""]


def test_the_first_copy_of_a_line_is_looked_for_in_documents_that_stay(tmp_path: Path) -> None:
    words = made(1, 8)[0].split()
    line = " ".join(words[:30])
    texts = [f"{line}\n{' '.join(words[30:-1])}", f"{line}\n{' '.join(words[30:])}"]
    settings = Deduplicate(paragraphs=40)
    sign_tasks(tmp_path, texts, 1, settings)
    find_duplicates(tmp_path, 1, settings)
    assert dropped(tmp_path, 1, 0).rows.tolist() == [0]
    assert dropped_paragraphs(tmp_path, 1, 0) == {}


def test_statistics_count_clusters_and_show_the_largest(tmp_path: Path) -> None:
    base = made(30, 9)
    texts = [f"{text} {' '.join(WORDS[:i])}" for text in base[:3] for i in range(3)] + base
    # Three clusters of three; one of each also as an exact copy.
    found(tmp_path, texts, 2)
    report = statistics(tmp_path, 2)
    assert report["documents"] == len(texts)
    assert report["dropped"] == {EXACT: 3, NEAR: 6}
    assert report["sizes"] == {"3-4": 3}
    assert [one["documents"] for one in report["examples"]] == [3, 3, 3]
    assert len(report["examples"]) == 3
    json.dumps(report)


def test_an_empty_task_and_an_empty_corpus_have_no_duplicates(tmp_path: Path) -> None:
    assert found(tmp_path / "a", ["x y z", "x y z"], 4)[1][0] == 0
    assert found(tmp_path / "b", [], 2, Deduplicate()) == {}
    assert statistics(tmp_path / "b", 2)["documents"] == 0


def test_union_find_is_that_of_the_slow_way(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for edges in (0, 10, 300, 2000):
        a, b = rng.integers(0, 1000, (2, edges))
        parents = np.arange(1000)
        for part in np.array_split(np.arange(edges), 3):
            clusters.unite(parents, a[part], b[part])
        slow = list(range(1000))
        for _ in range(1000):
            before = list(slow)
            for i, j in zip(a.tolist(), b.tolist(), strict=True):
                slow[i] = slow[j] = min(slow[i], slow[j])
            if slow == before:
                break
        assert clusters.find(parents, np.arange(1000)).tolist() == slow


def test_parents_can_be_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = with_near_duplicates(made(60), 7)
    expected = found(tmp_path / "memory", texts, 2)
    monkeypatch.setattr(clusters, "_IN_MEMORY", 0)
    monkeypatch.setattr(clusters, "_AT_ONCE", 10)
    assert found(tmp_path / "file", texts, 2) == expected
    assert not list((tmp_path / "file").glob("*.part"))


def test_memory_of_a_job_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    # Signatures of 200,000 documents, four of each cluster, without their texts: 40 MB of keys.
    peaks = []
    for count in (20_000, 200_000):
        work = fake_signatures(tmp_path / str(count), count)
        out = work.folder / "match-00000.bin"
        (range_, *_) = dedup_match_ranges(work, 8000)
        tracemalloc.start()
        dedup_match.match_bands(work, out, 0, range_)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(Work(work.folder, 2).maps(out)["keys"]) > 4000
    assert peaks[1] < 1.5 * peaks[0] < 4e6


def dedup_match_ranges(work: Work, records: int) -> list:
    from xunlian.corpus.duplicates.runs import find_ranges

    return find_ranges(lambda: work.keys("band_0_keys"), records)


def fake_signatures(folder: Path, count: int) -> Work:
    from xunlian.corpus.duplicates.arrays import write_arrays
    from xunlian.corpus.duplicates.files import signature_file

    rng = np.random.default_rng(1)
    keys = np.repeat(rng.integers(0, 1 << 63, count // 4), 4).astype(np.uint64)
    for task, some in enumerate(np.array_split(rng.permutation(count), 2)):
        order = np.argsort(keys[some])
        write_arrays(
            signature_file(folder, task),
            {
                "tokens": np.ones(len(some), np.uint32),
                "exact": rng.integers(0, 1 << 63, (len(some), 2)).astype(np.uint64),
                "band_0_keys": keys[some][order],
                "band_0_rows": order.astype(np.uint32),
            },
        )
    bases = np.array([0, count // 2, count])
    write_arrays(folder / "documents.bin", {"bases": bases})
    return Work(folder, 2)


def quality(
    folder: Path, texts: list[str], truth: dict[tuple[int, int], float]
) -> tuple[float, float, float, float]:
    """Recall and precision of the pairs found; and of the documents that go.

    Recall of documents: of the similar pairs, those of which not both stay. Precision: of the
    documents that go, those similar to the one they are said to be a copy of.
    """
    gone = found(folder, texts, 3)
    pairs = {(min(i, j), max(i, j)) for i, (j, _, _) in gone.items()}
    for path in Work(folder, 3).files("verify"):
        arrays = Work(folder, 3).maps(path)
        pairs |= set(zip(arrays["keys"].tolist(), arrays["others"].tolist(), strict=True))
    # Of exact copies only the first is compared, for all of them.
    first: dict[str, int] = {}
    of = [first.setdefault(" ".join(text.split()).casefold(), i) for i, text in enumerate(texts)]
    classes = {frozenset((of[i], of[j])) for i, j in pairs}
    hit = sum(of[i] == of[j] or frozenset((of[i], of[j])) in classes for i, j in truth)
    settled = sum(i in gone or j in gone for i, j in truth)
    copies = sum((min(i, j), max(i, j)) in truth for i, (j, _, _) in gone.items())
    return (
        hit / len(truth),
        len(pairs & truth.keys()) / len(pairs),
        settled / len(truth),
        copies / len(gone),
    )


@pytest.mark.parametrize("language", ["en", "zh"])
def test_injected_near_duplicates_are_found(tmp_path: Path, language: str) -> None:
    texts = [text[:3000] for text in (wikinews() if language == "en" else zhwiki())[:300]]
    texts = with_near_duplicates(texts, 11)
    truth = similar_pairs(texts, 0.8)
    assert len(truth) > 100
    measured = quality(tmp_path, texts, truth)
    assert min(measured) >= 0.95, measured


def test_versions_of_the_same_page_are_found(tmp_path: Path) -> None:
    texts = shared_data("dedup/pydocs_versions.jsonl.gz")
    records = [json.loads(line) for line in gzip.decompress(texts.read_bytes()).splitlines()]
    place = {record["id"]: i for i, record in enumerate(records)}
    with open(shared_data("dedup/pydocs_versions.pairs.tsv"), encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    truth = {}
    for row in rows:
        if float(row["jaccard_5word"]) >= 0.8:
            i, j = sorted((place[row["id1"]], place[row["id2"]]))
            truth[i, j] = float(row["jaccard_5word"])
    assert len(truth) == 204
    measured = quality(tmp_path, [record["text"] for record in records], truth)
    assert min(measured) >= 0.95, measured
