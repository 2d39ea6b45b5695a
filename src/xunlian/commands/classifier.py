"""`xunlian classifier`: a small classifier of good and bad text, from examples of both."""

from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from xunlian.commands.common import add_json, print_json
from xunlian.commands.prepare_recipe import is_override, recipe_for
from xunlian.console import say, warn
from xunlian.errors import InputError


def classifier(
    good: Sequence[str | Path] | str | Path,
    bad: Sequence[str | Path] | str | Path,
    out: str | Path,
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """Train a classifier for `corpus.quality.classifier`, and measure it.

    It learns words, pairs of words and how lines begin (of Chinese, characters). Every fifth
    document is held out: the figures are of a classifier that has not seen these; the one that is
    written has learned from all.

    Args:
        good, bad: files, folders, globs or URLs of any format that `prepare` reads.
        out: the file to write (safetensors); one that is there is replaced.
        overrides: `key=value` for the table [corpus], such as `corpus.clean=true`: documents are
            read, extracted and cleaned as `prepare` would with the same settings.

    Returns:
        `out`; `documents` and `held_out`, each of `good` and `bad`; `accuracy` (mean of both kinds,
        at 0.5) and `auc`; `thresholds`: a list of `threshold`, `precision`, `recall` (of the good)
        and `dropped` (of the bad); `telling`: of `good` and `bad` the words (`text`, `begins_line`)
        that tell them, with their `weight` and the shares of `good` and `bad` documents with them.

    Raises:
        InputError: anything is wrong with the input, or there are fewer than ten examples of a
            kind. Nothing is written.
    """
    path = Path(out)
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"'{out}': --out is a file in a folder that exists.")
    from xunlian.corpus.examples import examples
    from xunlian.corpus.train_quality import train_quality

    corpus = recipe_for((), overrides=overrides).corpus
    counts: Counter[str] = Counter()
    trained = train_quality(*(examples(_names(given), corpus, counts) for given in (good, bad)))
    if broken := sum(count for name, count in counts.items() if name.startswith("broken")):
        warn(f"{broken:,} broken files or records were left out.")
    trained.classifier.save(path)
    kinds = ("good", "bad")
    return {
        "out": str(out),
        "documents": dict(zip(kinds, trained.documents, strict=True)),
        "held_out": dict(zip(kinds, trained.held_out, strict=True)),
        "accuracy": trained.accuracy,
        "auc": trained.auc,
        "thresholds": [asdict(row) for row in trained.thresholds],
        "telling": {
            kind: [one._asdict() for one in found]
            for kind, found in zip(kinds, (trained.good, trained.bad), strict=True)
        },
    }


def add_arguments(parser: ArgumentParser) -> None:
    for kind, what in (("good", "be kept"), ("bad", "go")):
        parser.add_argument(
            f"--{kind}",
            nargs="+",
            required=True,
            metavar="FILE",
            help=f"texts that should {what}: files, folders or globs of any format that prepare "
            "reads",
        )
    parser.add_argument(
        "--out", required=True, metavar="FILE", help="the classifier to write (.safetensors)"
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="settings of [corpus], as for prepare, such as corpus.clean=true",
    )
    add_json(parser)


def run(arguments: Namespace) -> int:
    """Carry out `xunlian classifier`; the exit status."""
    overrides = [text for text in arguments.overrides if is_override(text)]
    for text in arguments.overrides:
        if not is_override(text):
            raise InputError(f"'{text}': good texts or bad ones? Put it behind --good or --bad.")
    kinds = []
    for given in (arguments.good, arguments.bad):
        overrides += [text for text in given if is_override(text)]
        kinds.append([text for text in given if not is_override(text)])
    good, bad = kinds
    found = classifier(good, bad, arguments.out, overrides)
    if arguments.json:
        print_json(found)
    else:
        _show(found)
    say(f"Next: xunlian prepare ... corpus.quality.classifier={arguments.out}")
    return 0


def _show(found: dict[str, Any]) -> None:
    documents, held_out = found["documents"], found["held_out"]
    print(
        f"{documents['good']:,} good and {documents['bad']:,} bad documents; measured by "
        f"{held_out['good']:,} and {held_out['bad']:,} that it had not seen:"
    )
    print(f"accuracy {found['accuracy']:.1%}, area under the curve {found['auc']:.3f}\n")
    print("threshold   good kept   bad dropped   good among what is kept")
    for row in found["thresholds"]:
        print(
            f"{row['threshold']:>9}{row['recall']:>12.1%}{row['dropped']:>14.1%}"
            f"{row['precision']:>26.1%}"
        )
    for kind, rows in found["telling"].items():
        words = ("^" * row["begins_line"] + row["text"] for row in rows)
        print(f"\nTelling for {kind}: {'  '.join(words)}")
    print("\n^: at the beginning of a line")


def _names(given: Sequence[str | Path] | str | Path) -> list[str]:
    return [str(given)] if isinstance(given, (str, Path)) else [str(name) for name in given]
