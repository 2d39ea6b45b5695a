"""The recipes that stand on a base model run as shipped: their samples, and a few steps."""

from collections import Counter
from pathlib import Path

import pytest
from conftest import SAMPLES, TINY, xunlian_command

import xunlian
from xunlian.corpus.chat.clean import clean_conversation
from xunlian.corpus.chat.formats import conversations_of
from xunlian.corpus.chat.read import CHAT_FORMATS, read_chat_records
from xunlian.corpus.reading.sources import expand_source
from xunlian.corpus.reading.trouble import ignore
from xunlian.corpus.split import parse_holdout
from xunlian.evaluation.tasks.maths import math_question
from xunlian.evaluation.tasks.programs import read_problem
from xunlian.evaluation.tasks.questions import readings
from xunlian.evaluation.tasks.records import read_task
from xunlian.evaluation.tasks.support import support_question
from xunlian.recipe.load import load_recipe
from xunlian.recipe.settings import Corpus

BASES = ("base-en", "base-zh")
TUNED = ("support-chat-en", "support-chat-zh", "write-poems-zh", "write-stories-en", "code-python",
         "tutor-math", "qa-zh")  # fmt: skip


def conversations(name: str, given: tuple[str, ...]) -> list[list[dict[str, str]]]:
    corpus = load_recipe(name).corpus
    return [
        clean_conversation(turns, Counter())
        for text in given
        for source in expand_source(text, CHAT_FORMATS)
        for _, record in read_chat_records(source, corpus, Counter(), ignore)
        for turns in conversations_of(record)[1]
    ]


@pytest.mark.parametrize("name", TUNED)
def test_it_starts_from_the_base_of_its_language(name):
    language = "zh" if name.endswith("zh") else "en"
    assert load_recipe(name).model.init_from == f"runs/base-{language}-1"


@pytest.mark.parametrize("name", TUNED)
def test_every_record_of_its_sample_is_a_conversation_and_nothing_held_out_is_learned(name):
    corpus = load_recipe(name).corpus
    learned = conversations(name, corpus.source_paths)
    assert len(learned) >= 400
    assert all(turns[0]["role"] == "user" and turns[-1]["role"] == "assistant" for turns in learned)
    if parse_holdout(corpus.val) is None:
        asked = {turns[0]["content"] for turns in learned}
        held_out = conversations(name, corpus.val)
        assert len(held_out) >= 90
        assert not [turns for turns in held_out if turns[0]["content"] in asked]


@pytest.mark.parametrize(
    ("name", "questions"),
    [
        ("qa-zh", lambda record: [each.question for each in readings(record)]),
        ("code-python", lambda record: [read_problem(record).question]),
        ("tutor-math", lambda record: [math_question(record)]),
        ("support-chat-en", lambda record: [support_question(record)]),
    ],
)
def test_it_learns_in_the_words_in_which_it_will_be_asked(name, questions):
    val = load_recipe(name).corpus.val
    asked = [one for record in read_task(val, Corpus()) for one in questions(record)]
    assert [one.messages for one in asked] == [turns[:-1] for turns in conversations(name, val)]


@pytest.mark.slow
@pytest.mark.parametrize("name", TUNED)
def test_it_takes_a_few_steps_from_a_base_with_the_base_s_tokenizer(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "songci.txt" if name.endswith("zh") else "shakespeare.txt"
    small = [setting for setting in TINY if "context" not in setting]
    start = load_recipe(name).model.init_from
    base = [f"corpus.sources=sample:{text}", "corpus.documents=paragraph",
            "tokenizer.vocab_size=6000", "training.budget=2 steps", *small]  # fmt: skip
    xunlian.train("small", base, out=start)
    learning = [s for s in small if not s.startswith("model.")]
    learning += ["training.batch_tokens=1024", "training.budget=2 steps"]
    run = xunlian.train(name, learning)
    assert run.path == Path(f"runs/{name}-1")
    assert run.facts()["finished"] and run.facts()["step"] == 2
    assert run.recipe.tokenizer.kind == start
    lost = xunlian.info(f"corpora/{name}")["dropped"]
    assert lost["broken_records"] == 0
    assert xunlian.chat(run.path, "Hello", max_tokens=3, seed=1) is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", BASES)
def test_a_base_recipe_trains_on_what_lies_where_it_looks(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name == "base-zh":
        pytest.importorskip("opencc", reason='needs pip install "xunlian[web]"')
    text = (SAMPLES / ("songci.txt" if name == "base-zh" else "shakespeare.txt")).read_text("utf-8")
    pages = [f"<doc id='{i}'>\n{part}\n</doc>\n" for i, part in enumerate(text.split("\n\n"))]
    for source in load_recipe(name).corpus.source_paths:
        Path(source).mkdir(parents=True)
        (Path(source) / "wiki_00.txt").write_text("".join(pages), "utf-8")
    run = xunlian.train(name, [*TINY, "training.budget=2 steps", "tokenizer.vocab_size=4000"])
    assert run.facts()["step"] == 2
    assert xunlian.info(f"corpora/{name}")["splits"]["train"]["documents"] > 100


@pytest.mark.parametrize("command", ["train tutor-math", "prepare tutor-math --out corpus"])
def test_without_its_base_a_recipe_says_how_to_get_one_and_leaves_nothing(command, tmp_path):
    done = xunlian_command(*command.split(), cwd=tmp_path)
    assert done.returncode == 2
    assert "runs/base-en-1" in done.stderr and "`xunlian train base-en`" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_without_its_text_a_base_recipe_says_where_to_look_and_leaves_nothing(tmp_path):
    done = xunlian_command("train", "base-en", cwd=tmp_path)
    assert done.returncode == 2
    assert "'downloads/enwiki'" in done.stderr and "xunlian recipe" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_every_sample_has_its_licence_told():
    told = (SAMPLES / "LICENSES.md").read_text("utf-8")
    for path in SAMPLES.iterdir():
        assert path.suffix == ".md" or f"`{path.name}`" in told, path.name
