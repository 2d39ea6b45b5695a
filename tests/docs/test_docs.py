"""Every command of the documentation is run, in order, as a reader would run it.

Each document gets a folder with small texts. What would take minutes is cut short: new trainings
get a tiny network and three steps, resumed ones a few steps more.
"""

import csv
import gzip
import io
import json
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from itertools import islice
from pathlib import Path
from typing import IO

import pytest
from conftest import ROOT, SAMPLES

import xunlian
import xunlian.commands.compare
import xunlian.commands.plan
import xunlian.commands.train
import xunlian.commands.tune
from xunlian.cli import VERBS, main
from xunlian.interop.huggingface import write_config, write_weights
from xunlian.models.decoder import Decoder, DecoderConfig
from xunlian.models.encoder_decoder import EncoderDecoder
from xunlian.models.pair_config import EncoderDecoderConfig
from xunlian.recipe.explain import explain
from xunlian.studies import child, probe
from xunlian.studies import compare as studies
from xunlian.tokenizer.train import train_tokenizer

RUNNING = [
    "README.md",
    "README.zh.md",
    "docs/align.md",
    "docs/align.zh.md",
    "docs/tutorial.md",
    "docs/tutorial.zh.md",
    "docs/chat.md",
    "docs/chat.zh.md",
    "docs/corpus.md",
    "docs/corpus.zh.md",
    "docs/finetune.md",
    "docs/finetune.zh.md",
    "docs/lora.md",
    "docs/lora.zh.md",
    "docs/plan.md",
    "docs/plan.zh.md",
    "docs/support-chatbot.md",
    "docs/support-chatbot.zh.md",
    "docs/tasks.md",
    "docs/tasks.zh.md",
    "docs/translate.md",
    "docs/translate.zh.md",
    "docs/export.md",
    "docs/export.zh.md",
    "docs/distill.md",
    "docs/distill.zh.md",
    "docs/quality-head.md",
    "docs/quality-head.zh.md",
    "docs/why-transformers.md",
    "docs/why-transformers.zh.md",
]
DOCUMENTS = [
    *RUNNING,
    "docs/models.md",
    "docs/models.zh.md",
    "docs/recipe.md",
    "docs/architecture.md",
    "docs/bench.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
]
_FITTING = {
    "chat": ["model.context=128"],
    "preference": ["model.context=128"],
    "support-chat-en": ["model.context=512", "training.batch_tokens=512"],
    "support-chat-zh": ["model.context=512", "training.batch_tokens=512"],
    "base-en": ["tokenizer.vocab_size=600"],
    "base-zh": ["tokenizer.vocab_size=1200"],
}
TINY = [
    "training.budget=3 steps",
    "model.depth=1",
    "model.width=32",
    "model.context=32",
    "training.compile=off",
    "training.threads=1",
]


def blocks(document: str) -> Iterator[tuple[str, str]]:
    """(language, content) of each fenced block."""
    text = (ROOT / document).read_text("utf-8")
    yield from re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def shell_commands(document: str) -> list[list[str]]:
    """The words of each command in the ```bash blocks."""
    found = []
    for language, content in blocks(document):
        if language == "bash":
            for line in content.replace("\\\n", " ").splitlines():
                if words := shlex.split(line, comments=True):
                    found.append(words)
    return found


def pair_texts() -> dict[str, str]:
    """Aligned files, and abstracts with titles, from the first lines of two samples."""
    with gzip.open(SAMPLES / "tatoeba.en-zh.tsv.gz", "rt", encoding="utf-8") as file:
        pairs = [line.split("\t") for line in islice(file, 1000, 1400)]
    with gzip.open(SAMPLES / "scitldr.en.jsonl.gz", "rt", encoding="utf-8") as file:
        papers = [json.loads(line) for line in islice(file, 300)]
    texts = {}
    for name, part in (("train", pairs[:360]), ("val", pairs[360:390]), ("test", pairs[390:])):
        for column, language in enumerate(("en", "zh")):
            texts[f"{name}.{language}"] = "".join(f"{pair[column]}\n" for pair in part)
    texts["more.zh"] = "".join(f"{pair[1]}\n" for pair in pairs[:20])
    # As short as the tiny context.
    rows = [{"abstract": p["source"][0][:50], "title": p["target"][0][:40]} for p in papers]
    texts["papers.jsonl"] = "".join(f"{json.dumps(row)}\n" for row in rows)
    texts["abstracts.txt"] = "".join(f"{row['abstract']}\n" for row in rows[:3])
    return texts


def messy_texts() -> dict[str, str]:
    """Documents of several sentences, some of them twice, and a web page."""
    with gzip.open(SAMPLES / "scitldr.en.jsonl.gz", "rt", encoding="utf-8") as file:
        abstracts = [" ".join(json.loads(line)["source"]) for line in islice(file, 60)]
    abstracts[0] += " Write to ann.smith@example.org."
    rows = [{"text": text} for text in (*abstracts, *abstracts[:5])]
    paragraphs = "".join(f"<p>{text}</p>" for text in abstracts[:3])
    page = (
        f"<html><body><nav><a href='/'>Home</a></nav><article>{paragraphs}</article></body></html>"
    )
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    links = [["Home", "About us", "Log in", "首页", "联系我们"][i % 5 :] for i in range(60)]
    junk = "".join(
        f"{json.dumps({'text': f'{i} | '.join(row) * 3})}\n" for i, row in enumerate(links)
    )
    return {"notes.jsonl": lines, "crawl/page.html": page, "junk.jsonl": junk}


def fetched_texts() -> dict[str, str]:
    """What the base recipes read, in the form of WikiExtractor, and questions with answers."""
    shakespeare = (SAMPLES / "shakespeare.txt").read_text("utf-8")[:60_000]
    songci = (SAMPLES / "songci.txt").read_text("utf-8")[:30_000]
    wiki, zhwiki = (
        "".join(f'<doc id="{i}">\n{part}\n</doc>\n' for i, part in enumerate(text.split("\n\n")))
        for text in (shakespeare, songci)
    )
    with gzip.open(SAMPLES / "bitext.val.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = [
            (row["instruction"], row["response"][:60], row["intent"])
            for row in islice(csv.DictReader(file), 100)
        ]
    known = {intent for _, _, intent in rows[:80]}
    new = [row for row in rows[80:] if row[2] in known]
    texts = {
        "downloads/enwiki/wiki_00.txt": wiki,
        "downloads/enwikinews/wiki_04.jsonl": json.dumps({"text": shakespeare}),
        "downloads/zhwiki/wiki_00.txt": zhwiki,
        "downloads/zhnovels/novel.txt": songci,
    }
    for name, part in (("faq", rows[:80]), ("newfaq", new)):
        file = io.StringIO()
        csv.writer(file).writerows([("question", "answer", "intent"), *part])
        texts[f"{name}.csv"] = file.getvalue()
    return texts


def task_texts() -> dict[str, str]:
    """A few problems of each task, short enough for a tiny context."""
    add = {"prompt": "def add(a, b):\n", "entry_point": "add", "test": "assert add(1, 2) == 3"}
    sums = [{"question": "What is 2+3?", "answer": "5"}, {"input": "二加三？", "golden": "5"}]
    talks = [
        {"prompt": "Are you open?", "completion": "We open at nine.", "intent": "hours"},
        {"prompt": "几点开门？", "completion": "九点开门。", "intent": "hours"},
    ]
    reading = [
        {"context": "Ann is in Rome.", "question": "Where?", "answers": ["Rome"]},
        {"context": "小安在北京。", "question": "在哪？", "answers": ["北京"]},
    ]
    quiz = [{"question": "Is it?", "choices": ["yes", "no"], "answer": 0}]
    return {
        f"{name}.jsonl": "".join(f"{json.dumps(row)}\n" for row in rows)
        for name, rows in {
            "problems": [add],
            "sums": sums,
            "solved": sums,
            "tickets": talks,
            "known": talks,
            "reading": reading,
            "quiz": quiz,
        }.items()
    }


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    """A folder with the texts that the documents speak of, where trainings are short."""
    shakespeare = (SAMPLES / "shakespeare.txt").read_text("utf-8")
    texts = {
        "mytext.txt": shakespeare[:60_000],
        "heldout.txt": shakespeare[-4_000:],
        "newtext.txt": shakespeare[-40_000:-10_000],
        "chinese.txt": (SAMPLES / "songci.txt").read_text("utf-8")[:10_000],
        "prompts.txt": "ROMEO:\nThe king\n",
    }
    chats = (SAMPLES / "chat.en.jsonl").read_text("utf-8")
    texts["preferences.jsonl"] = (SAMPLES / "preferences.en.jsonl").read_text("utf-8")
    texts |= {"chats.jsonl": chats, "newchats.jsonl": chats[:4_000].rpartition("\n")[0]}
    texts["rated.jsonl"] = (SAMPLES / "rated.en.jsonl").read_text("utf-8")
    texts |= pair_texts() | messy_texts()
    _write_open_model(tmp_path / "Qwen3-0.6B")
    _write_open_translator(tmp_path / "nllb-200-distilled-600M")
    texts |= task_texts()
    texts |= fetched_texts()
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    monkeypatch.chdir(tmp_path)
    train, resumed = xunlian.commands.train.train, []

    def short(recipe, overrides=(), *, resume=False, **options):
        if resume:
            resumed.append(recipe)
            overrides = [f"training.budget={3 + 2 * len(resumed)} steps"]
        else:
            # Conversations do not fit where texts do, nor large vocabularies little text.
            task = xunlian.load_recipe(recipe, overrides).task
            overrides = [*overrides, *TINY, *_FITTING.get(str(recipe), _FITTING.get(task, []))]
        return train(recipe, overrides, resume=resume, **options)

    monkeypatch.setattr(xunlian.commands.train, "train", short)
    _shorten_studies(monkeypatch)
    return tmp_path


def _write_open_model(folder: Path) -> None:
    """A folder that stands for an open model, as small as trainings are here."""
    tokenizer = train_tokenizer(iter([" ".join(VERBS)]), "bpe", 300, shrink=True)
    config = DecoderConfig(
        architecture="qwen3",
        vocab_size=tokenizer.vocab_size,
        depth=1,
        width=32,
        heads=1,
        kv_heads=1,
        head_width=32,
        mlp_width=64,
        context=64,
        tied=True,
    )
    write_config(folder, config, tokenizer.end_id)
    write_weights(folder / "model.safetensors", Decoder(config))
    tokenizer.save(folder)


def _write_open_translator(folder: Path) -> None:
    """A folder that stands for an open translator of two languages."""
    tokenizer = train_tokenizer(iter([" ".join(VERBS)]), "byte", 258, pad=True)
    tokenizer.backend.add_special_tokens(["eng_Latn", "zho_Hans"])
    config = EncoderDecoderConfig("m2m_100", 260, 1, 1, 32, 1, 64, 64, first_position=258)
    write_config(folder, config, tokenizer.end_id, tokenizer.end_id)
    write_weights(folder / "model.safetensors", EncoderDecoder(config))
    tokenizer.save(folder)


def _shorten_studies(monkeypatch) -> None:
    """Their trainings run in this process, where they are short, on little to validate."""
    plan, tune = xunlian.commands.plan.plan, xunlian.commands.tune.tune

    def short_plan(recipe, overrides=(), **options):
        return plan(recipe, overrides if options["gpu"] else [*overrides, *TINY], **options)

    monkeypatch.setattr(xunlian.commands.plan, "plan", short_plan)
    monkeypatch.setattr(xunlian.commands.tune, "tune", lambda r, o: tune(r, [*o, *TINY]))

    def train_here(arguments):
        child.raise_for(main(["train", *arguments]), arguments)

    compare = xunlian.commands.compare.compare

    def short(recipe, overrides=(), **options):
        return compare(recipe, [*overrides, "corpus.val=0.005"], **options)

    monkeypatch.setattr(xunlian.commands.compare, "compare", short)
    monkeypatch.setattr(child, "train_in_child", train_here)
    monkeypatch.setattr(studies, "PROBE_STEPS", 1)
    monkeypatch.setattr(probe, "BATCH_TOKENS", 64)
    monkeypatch.setattr(probe, "DISTANCES", (2, 4))
    monkeypatch.setattr(probe, "TESTED", 2)


def redirected(words: list[str]) -> tuple[list[str], IO[str] | None]:
    """A command without its `> FILE`, and the file."""
    if ">" not in words:
        return words, None
    at = words.index(">")
    file = open(words[at + 1], "w", encoding="utf-8", buffering=1)  # noqa: SIM115
    if words[at + 1].endswith(".tsv"):
        file.write("One line.\t一行。\n")  # after three steps, a model may have nothing to say
    return words[:at], file


# The commands of these are those of the English ones (a test below holds it), but for few words.
_NAMES = (
    "align",
    "chat",
    "corpus",
    "distill",
    "export",
    "finetune",
    "lora",
    "plan",
    "quality-head",
    "support-chatbot",
    "tasks",
    "translate",
    "tutorial",
    "why-transformers",
)
AGAIN = {f"docs/{name}.zh.md" for name in _NAMES}
LONG = {
    f"docs/{name}.md"
    for name in ("distill", "plan", "support-chatbot", "translate", "why-transformers")
}


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(document, marks=pytest.mark.slow) if document in AGAIN | LONG else document
        for document in RUNNING
    ],
)
def test_every_command_and_every_python_block_works(document, desk, capsys):
    if document.startswith("docs/export"):
        for library in ("gguf", "ctranslate2", "onnx", "onnxruntime"):
            pytest.importorskip(library, reason='needs pip install "xunlian[dev]"')
    ran = 0
    for language, content in blocks(document):
        if language == "toml":
            name = re.match(r"# (\S+\.toml)\n", content)
            assert name, "a recipe in the documents begins with '# NAME.toml'"
            (desk / name[1]).write_text(content, "utf-8")
        elif language == "python":
            exec(compile(content, document, "exec"), {})
            ran += 1
        elif language == "bash":
            for line in content.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words and words[0] == "xunlian":
                    words, output = redirected(words)
                    with redirect_stdout(output or sys.stdout):
                        status = main(words[1:])
                    assert status == 0, f"{line}\n{capsys.readouterr().err}"
                    ran += 1
    assert ran >= 3


@pytest.mark.parametrize("document", DOCUMENTS)
def test_other_commands_name_what_exists(document):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for words in shell_commands(document):
        if words[0] == "make":
            named = [word for word in words[1:] if "=" not in word]
            assert named and set(named) <= set(targets), words
        elif words[0] == "torchrun":
            after = words[words.index("-m") + 1 :]
            assert after[0] == "xunlian" and after[1] in VERBS, words
        elif words[0] == "xunlian":
            assert words[1] in VERBS, words
        elif words[0].endswith("python"):
            assert (ROOT / words[1]).is_file(), words
        else:
            pytest.fail(f"no check for {words}")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_to_a_file(document):
    text = (ROOT / document).read_text("utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if not target.startswith(("http://", "https://")):
            assert ((ROOT / document).parent / target).exists(), target


def test_the_reference_of_settings_is_what_the_program_prints():
    shown = next(content for language, content in blocks("docs/recipe.md") if language == "text")
    assert shown == explain(), "paste the output of `xunlian recipe --explain` into docs/recipe.md"


def test_the_architecture_names_every_folder():
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    for folder in (ROOT / "src" / "xunlian").iterdir():
        if (folder / "__init__.py").exists():
            assert f"`{folder.name}/`" in text, folder.name


@pytest.mark.parametrize(
    "one, other",
    [(name, name.replace(".md", ".zh.md")) for name in RUNNING if not name.endswith(".zh.md")],
)
def test_both_languages_show_the_same_verbs_in_the_same_order(one, other):
    def verbs(document: str) -> list[str]:
        return [words[1] for words in shell_commands(document) if words[0] == "xunlian"]

    assert verbs(one) == verbs(other)
