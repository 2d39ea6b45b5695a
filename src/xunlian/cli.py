"""The command line: finds the verb, imports only its file, and turns errors into exit statuses."""

import argparse
import contextlib
import importlib
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

import xunlian
from xunlian.console import harmless
from xunlian.errors import XunlianError, did_you_mean

VERBS = {
    "prepare": "make a corpus (tokenizer and token shards) from text files",
    "classifier": "train a classifier of good and bad text, for prepare",
    "plan": "data, time, memory and cost of a training, before it is spent",
    "tune": "find the fastest settings for this machine",
    "train": "train a model by a recipe",
    "evaluate": "how well a trained model predicts a text, translates, or does a task",
    "generate": "let a trained model write",
    "chat": "talk with a trained model",
    "translate": "let a trained model translate, line by line",
    "summarize": "let a trained model summarize, line by line",
    "backtranslate": "make pairs from text in the language to translate into",
    "export": "write a model for llama.cpp, CTranslate2 or onnxruntime",
    "merge": "make a whole model of an adapter and its base",
    "compare": "train RNN, GRU, LSTM and Transformer side by side",
    "info": "what is in a run, a corpus or a model folder",
    "recipe": "list the shipped recipes, explain every setting",
    "doctor": "what this machine can do, measured",
}

_HELP = """Xunlian 迅练: train a language model of your own from raw text, fast.

  xunlian VERB ...          xunlian VERB --help explains a verb

{verbs}

  xunlian --version

A first model:
  xunlian prepare mytext.txt --out corpora/mine
  xunlian train small corpus.path=corpora/mine training.budget=5min
  xunlian generate runs/small-1 --prompt "Once upon a time"
"""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"{self.prog}: {message}. `{self.prog} --help` shows what it takes.\n")
        raise SystemExit(2)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(
            _HELP.format(verbs="\n".join(f"  {verb:<14}{about}" for verb, about in VERBS.items()))
        )
        return 0
    verb, rest = arguments[0], arguments[1:]
    if verb == "--version":
        sys.stdout.write(f"xunlian {xunlian.__version__}\n")
        return 0
    if verb not in VERBS:
        sys.stderr.write(
            f"xunlian: unknown verb '{verb}'.{did_you_mean(verb, VERBS)} "
            "`xunlian --help` lists the verbs.\n"
        )
        return 2
    return _run(verb, rest)


def _run(verb: str, rest: list[str]) -> int:
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        command = importlib.import_module(f"xunlian.commands.{verb}")
        parser = Parser(
            prog=f"xunlian {verb}",
            description=f"{VERBS[verb].capitalize()}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(parser)
        status: int = command.run(parser.parse_intermixed_args(rest))
        sys.stdout.flush()
        return status
    except XunlianError as error:
        line = harmless(" ".join(str(error).splitlines()))  # names of files may hold anything
        sys.stderr.write(f"xunlian {verb}: {line}\n")
        return error.exit_status
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted.\n")
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nothing is wrong.
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _interrupt(*_: object) -> NoReturn:
    """SIGTERM ends a command as Ctrl-C does, so that half-made folders are removed."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
