"""`xunlian info`: what is in a corpus, a run or a model folder; documents read back from shards."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xunlian.commands.common import add_json, print_json
from xunlian.console import shown

if TYPE_CHECKING:
    from xunlian.runs.folder import Run
    from xunlian.shards.corpus import Corpus

Split = Literal["train", "val"]
SHOWN_TOKENS = 100_000  # of one document: a whole library may be one


def info(
    path: str | Path, *, show: int = 0, split: Split = "train", verify: bool = False
) -> dict[str, Any]:
    """What is in a corpus, a run or a Hugging Face model folder; `kind` says which it is.

    Args:
        show: of a corpus, that many documents of `split`, decoded back from the shards (of each
            at most SHOWN_TOKENS); of pairs, that many of them, the two sides with a tab between.
        split: 'train' or 'val'.
        verify: of a corpus, compare every shard with its checksum.

    Raises:
        InputError: it is none of these, or it is damaged.
    """
    from xunlian.errors import InputError, did_you_mean
    from xunlian.hub import local_folder

    if split not in ("train", "val"):
        raise InputError(
            f"There is no split '{split}'.{did_you_mean(split, ('train', 'val'))} Use train or val."
        )
    path = local_folder(path)
    if (path / "corpus.json").is_file():
        return _corpus(path, show, split, verify)
    if path.exists() and (show or verify):
        wish = "--show" if show else "--verify"
        raise InputError(
            f"{wish} is for a corpus folder, and '{path}' is none. `xunlian prepare` makes one."
        )
    if (path / "recipe.toml").is_file():
        return _run(path)
    if (path / "config.json").is_file():
        return _model(path)
    raise InputError(_what_it_is(path))


def _corpus(path: Path, show: int, split: Split, verify: bool) -> dict[str, Any]:
    from xunlian.shards.corpus import open_corpus

    corpus = open_corpus(path)
    found: dict[str, Any] = {"kind": "corpus", "path": str(path), **corpus.card}
    if verify:
        corpus.verify()
        found["verified"] = True
    if show > 0:
        columns = list(corpus.split_card(split).get("columns", {})) or [None]
        sides = [_documents(corpus, split, column, show) for column in columns]
        found["documents"] = [
            {
                "text": "\t".join(text for text, _ in document),
                "tokens": sum(tokens for _, tokens in document),
            }
            for document in zip(*sides, strict=True)
        ]
    return found


def _documents(
    corpus: "Corpus", split: Split, column: str | None, show: int
) -> list[tuple[str, int]]:
    """The first texts and their tokens."""
    from itertools import islice

    from xunlian.tokenizer.sides import load_sides

    tokenizer, stream = load_sides(corpus.path).of(column), corpus.stream(split, column)
    return [
        (tokenizer.decode(stream.read(start, min(stop, start + SHOWN_TOKENS))), stop - start)
        for start, stop in islice(stream.spans(), show)
    ]


def _run(path: Path) -> dict[str, Any]:
    from xunlian.runs.folder import open_run

    run = open_run(path)
    facts, metrics = run.facts(), run.metrics()
    last: Mapping[str, Any] = metrics[-1] if metrics else {}
    checkpoints = (
        sorted(p.name for p in run.checkpoints.glob("[!.]*")) if (run.checkpoints.is_dir()) else []
    )
    best: Mapping[str, Any] = min(
        (row for row in metrics if isinstance(row.get("val_loss"), (int, float))),
        key=lambda row: row["val_loss"],
        default={},
    )
    return {
        "kind": "run",
        "path": str(path),
        "about": run.recipe.about,
        "task": run.recipe.task,
        "architecture": run.recipe.model.architecture or run.recipe.model.family,
        "size": run.recipe.model.size,
        "depth": run.recipe.model.depth,
        "width": run.recipe.model.width,
        "context": run.recipe.model.context,
        "parameters": facts.get("parameters"),
        "corpus": run.recipe.corpus.path,
        "budget": run.recipe.training.budget,
        "precision": run.recipe.training.precision,
        "finished": bool(facts.get("finished")),
        "step": facts.get("step", last.get("step", 0)),
        "tokens": facts.get("tokens", last.get("tokens", 0)),
        "seconds": facts.get("seconds", last.get("seconds", 0)),
        "best_val_loss": best.get("val_loss"),
        "best_step": best.get("step"),
        **{
            name: best[f"val_{name}"]
            for name in ("reward_accuracy", "reward_margin")
            if f"val_{name}" in best
        },
        "checkpoints": checkpoints,
        "model": str(run.model_folder) if _weights(run.model_folder) else None,
        "report": str(run.report_file) if run.report_file.is_file() else None,
        "next": _next_commands(run, bool(facts.get("finished")), bool(checkpoints)),
    }


def _next_commands(run: "Run", finished: bool, has_checkpoint: bool) -> list[str]:
    from shlex import quote

    path = quote(str(run.path))
    commands = []
    if has_checkpoint:
        longer = " training.budget=..." if finished else ""
        commands.append(f"xunlian train {path} --resume{longer}")
    verb = {"translation": "translate", "summarization": "summarize"}.get(run.recipe.task)
    if verb and _weights(run.model_folder):
        commands += [f"xunlian {verb} {path}", f"xunlian evaluate {path}"]
    elif run.recipe.task in ("chat", "preference") and _weights(run.model_folder):
        commands += [f"xunlian chat {path}", f"xunlian evaluate {path}"]
    elif _weights(run.model_folder):
        prompt = quote((run.recipe.prompts or ("...",))[0])
        commands += [f"xunlian generate {path} --prompt {prompt}", f"xunlian evaluate {path}"]
    return commands


def _model(path: Path) -> dict[str, Any]:
    from math import prod

    from xunlian.errors import InputError
    from xunlian.files import read_json

    config = read_json(path / "config.json")
    if not isinstance(config, dict):
        raise InputError(f"'{path / 'config.json'}' is damaged: it holds no object.")
    shapes: dict[str, list[int]] = {}
    for file in _weights(path):
        shapes |= _tensor_shapes(file)
    return {
        "kind": "model",
        "path": str(path),
        "config": config,
        "parameters": sum(prod(shape) for shape in shapes.values()) if shapes else None,
        "tensors": len(shapes),
        "tokenizer": (path / "tokenizer.json").is_file(),
    }


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _tensor_shapes(file: Path) -> dict[str, list[int]]:
    """Name -> shape of every tensor, from the header alone."""
    from safetensors import SafetensorError, safe_open

    from xunlian.errors import InputError

    try:
        with safe_open(file, framework="numpy") as tensors:
            return {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"'{file}' is damaged or no safetensors file ({error}).") from error


def _what_it_is(path: Path) -> str:
    from xunlian.errors import did_you_mean

    if not path.exists():
        names = [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else []
        return (
            f"'{path}' does not exist.{did_you_mean(path.name, names)} Name a corpus, a run "
            "or a model folder."
        )
    if path.is_file():
        return (
            f"'{path}' is a file; info reads folders: a corpus, a run or a model. `xunlian "
            f"prepare {path} --out corpora/{path.stem}` makes a corpus of a text."
        )
    for parent in path.resolve().parents:
        if any((parent / name).is_file() for name in ("recipe.toml", "corpus.json")):
            return f"'{path}' is a part of '{parent}'; use `xunlian info {parent}`."
    inside = [
        p.name
        for p in sorted(path.glob("*"))
        if (p / "recipe.toml").is_file()
        or (p / "corpus.json").is_file()
        or (p / "config.json").is_file()
    ]
    if inside:
        return f"'{path}' holds {', '.join(inside[:5])}; name one, such as '{path / inside[0]}'."
    return (
        f"'{path}' is neither a corpus (it has no corpus.json), a run (no recipe.toml) nor a "
        "model folder (no config.json). `xunlian prepare` makes a corpus, `xunlian train` a "
        "run."
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", metavar="RUN|CORPUS", help="a corpus, a run, or a Hugging Face model folder"
    )
    parser.add_argument(
        "--show",
        type=int,
        default=0,
        metavar="N",
        help="print N documents of a corpus, read back from its shards",
    )
    parser.add_argument(
        "--split", default="train", metavar="train|val", help="where --show reads (default: train)"
    )
    parser.add_argument(
        "--verify", action="store_true", help="compare the shards of a corpus with their checksums"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    found = info(
        arguments.path, show=arguments.show, split=arguments.split, verify=arguments.verify
    )
    if arguments.json:
        print_json(found)
        return 0
    from xunlian.report.lines import describe

    documents = found.pop("documents", None)
    for name, value in describe(found):
        sys.stdout.write(shown(f"{name:<17}{value}\n"))
    for number, document in enumerate(documents or [], start=1):
        cut = f", the first {SHOWN_TOKENS:,} shown" if document["tokens"] > SHOWN_TOKENS else ""
        sys.stdout.write(
            shown(
                f"\n--- {arguments.split} document {number} ({document['tokens']:,} "
                f"tokens{cut})\n{document['text']}\n"
            )
        )
    return 0
