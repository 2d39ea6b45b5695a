"""Every command of the documentation is run, in order, as a reader would run it.

Each document gets a folder with small texts. What would take minutes is cut short: new trainings
get a tiny network and three steps, resumed ones a few steps more.
"""

import re
import shlex
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import IO

import pytest
from conftest import SAMPLES
from documents import RUNNING, blocks
from made_texts import fetched_texts, messy_texts, pair_texts, task_texts

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
from xunlian.studies import child, probe
from xunlian.studies import compare as studies
from xunlian.tokenizer.train import train_tokenizer

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


# Their commands are those of the English ones (test_references.py), but for few words.
CHINESE = [document for document in RUNNING if re.fullmatch(r"docs/.*\.zh\.md", document)]


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(document, marks=pytest.mark.slow) if document in CHINESE else document
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
