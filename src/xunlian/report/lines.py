"""What `info` found, as (label, value) lines for a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from xunlian.report.units import format_bytes, short_time


def describe(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Lines for a corpus, a run or a model, as `found['kind']` says."""
    yield found["kind"], found["path"]
    match found["kind"]:
        case "corpus":
            yield from _corpus(found)
        case "run":
            yield from _run(found)
        case _:
            yield from _model(found)


def _corpus(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    tokenizer = found["tokenizer"]
    if found.get("task"):
        codes = [code for code in (found.get("languages") or {}).values() if code]
        yield "task", found["task"] + (f", {' to '.join(codes)}" if codes else "")
    described = [tokenizer.get("kind"), f"{tokenizer['vocab_size']:,} tokens"]
    described += ["one for each side"] if tokenizer.get("separate") else []
    yield "tokenizer", ", ".join(filter(None, described))
    for name, split in found["splits"].items():
        shards = len(split["shards"])
        yield (
            name,
            (
                f"{split['documents']:,} {'pairs' if 'pairs' in split else 'documents'}, "
                f"{split['tokens']:,} tokens{_sides(split)}, "
                f"{split['characters']:,} characters, {split['bytes']:,} bytes; "
                f"{shards} {'shard' if shards == 1 else 'shards'}"
            ),
        )
    measured = {
        name: value
        for name, value in (found.get("fertility") or {}).items()
        if value is not None and not name.endswith("_measured")
    }
    if measured:
        yield "fertility", _figures(measured)
    for name in ("dropped", "cleaned"):
        if any((found.get(name) or {}).values()):
            yield name, _figures(found[name])
    for number, source in enumerate(found.get("sources") or []):
        yield (
            ("sources" if number == 0 else ""),
            (f"{source['name']} ({format_bytes(source['bytes'])})"),
        )
    if found.get("verified"):
        yield "checksums", "all right"


def _sides(split: Mapping[str, Any]) -> str:
    """' (source 5, target 6)' for pairs."""
    sides = {name: side["tokens"] for name, side in (split.get("columns") or {}).items()}
    return f" ({_figures(sides)})" if sides else ""


def _run(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if found["about"]:
        yield "about", found["about"]
    shape = ", ".join(
        f"{name} {found[name]}" for name in ("depth", "width", "context") if found[name]
    )
    parameters = f"{found['parameters']:,} parameters, " if found["parameters"] else ""
    yield "model", f"{found['architecture']}, {parameters}{shape}"
    yield "corpus", found["corpus"] or "not named"
    yield "budget", f"{found['budget']}, {found['precision']}"
    state = "finished" if found["finished"] else "not finished"
    yield (
        "trained",
        (
            f"{found['step']:,} steps, {found['tokens']:,} tokens, "
            f"{short_time(found['seconds'])}; {state}"
        ),
    )
    if found["best_val_loss"] is not None:
        yield "validation loss", f"{found['best_val_loss']:.4f} at step {found['best_step']:,}"
    if "reward_accuracy" in found:
        yield (
            "rewards",
            f"accuracy {found['reward_accuracy']:.1%}, margin {found['reward_margin']:.3f}",
        )
    yield "checkpoints", ", ".join(found["checkpoints"]) or "none"
    yield "weights", found["model"] or "none yet"
    yield "report", found["report"] or "none yet"
    for number, command in enumerate(found["next"]):
        yield ("go on with" if number == 0 else ""), command


def _model(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    config = found["config"]
    yield "type", str(config.get("model_type", "unknown"))
    if found["parameters"] is not None:
        yield "parameters", f"{found['parameters']:,} in {found['tensors']} tensors"
    yield "tokenizer", "there" if found["tokenizer"] else "none"
    for key, value in config.items():
        if isinstance(value, (int, float, str)) and key != "model_type":
            yield key, str(value)


def _figures(value: Any) -> str:
    """A number, a text, or 'name value' pairs of a table, on one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {_figures(v)}" for name, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_figures(item) for item in value)
    return (
        f"{value:,.4g}"
        if isinstance(value, float)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )
