"""`xunlian chat`: talk with a model, in the terminal, in a pipe, or from Python."""

import argparse
import contextlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xunlian.commands.chat_session import Session
from xunlian.commands.common import add_json, print_json
from xunlian.commands.generate import add_sampling, sampling
from xunlian.console import say, shown
from xunlian.errors import InputError

if TYPE_CHECKING:
    from xunlian.decoding.model import LoadedModel
    from xunlian.tokenizer.chat import Chat

_HELP = """/reset        forget the conversation
/system TEXT  tell the model how to be; without TEXT, show what it was told
/save FILE    write the conversation as a line of JSON, which `prepare --chat` reads
/help         this
/quit         leave (also Ctrl-D)
Ctrl-C stops an answer. A line that begins with a space is never a command."""


def chat(
    run: str | Path,
    messages: "str | Sequence[dict[str, str]]",
    *,
    system: str | None = None,
    max_tokens: int | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    stop: str | Sequence[str] | None = None,
    seed: int | None = None,
    precision: str = "auto",
    rerank: int = 0,
    min_safe: float | None = None,
) -> str:
    """What the model answers.

    Args:
        run: a run, or a Hugging Face model folder, with a chat template.
        messages: what the user says, or a conversation: {"role": ..., "content": ...} each, the
            last one the user's.
        system: how the model is to be; for a conversation that does not say so itself.
        rerank: how many answers to sample (among the 40 most probable tokens, unless `top_k` is
            given), of which the model itself chooses the best; it must have learned ratings.
            0: one answer, and no choice.
        min_safe: with `rerank`, answers whose probability of being safe is less are left out; when
            none is left, the answer is empty. Default: 0.5, if the model rates safety.

    A setting that is left out is the one of the run's recipe ([decoding]); recipe/settings.py
    explains each.

    Raises:
        InputError: `run` is no run and no model folder, has no chat template, or a value is out of
            its range, or the last message is too long.
    """
    given = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
    for message in given:
        if not (isinstance(message, dict) and {"role", "content"} <= set(message)):
            raise InputError(f"{message!r} is no message: it needs a 'role' and a 'content'.")
    if not given or given[-1]["role"] == "assistant":
        raise InputError("The last message must be the user's, for the model to answer it.")
    model, template = _open(run, precision)
    decoding = model.settings(
        max_tokens=max_tokens, temperature=temperature, top_p=top_p,
        top_k=_top_k(top_k, rerank), min_p=min_p, repetition_penalty=repetition_penalty, stop=stop,
        seed=seed,
    )  # fmt: skip
    told = given[0]["role"] == "system"
    session = Session(
        model,
        template,
        decoding,
        None if told else system,
        given[:-1],
        rerank=rerank,
        min_safe=min_safe,
    )
    session.check()
    return "".join(session.answer(given[-1]["content"], given[-1]["role"]))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", metavar="RUN", help="a run, or a Hugging Face model folder, with a chat template"
    )
    parser.add_argument(
        "--message",
        action="append",
        metavar="TEXT",
        help="say this, print the answer and leave; given several times, one after the other",
    )
    parser.add_argument("--system", metavar="TEXT", help="how the model is to be")
    parser.add_argument(
        "--rerank",
        type=int,
        default=0,
        metavar="N",
        help="sample N answers (of the 40 most probable tokens, unless --top-k says otherwise), of "
        "which the model chooses the best; for runs that have learned ratings",
    )
    parser.add_argument(
        "--min-safe",
        type=float,
        metavar="P",
        help="with --rerank: leave out answers whose probability of being safe is less; default: "
        "0.5, if the model rates safety",
    )
    add_sampling(parser)
    add_json(parser)
    parser.epilog = (
        "Without --message, each line of standard input is a message, and in a terminal /help "
        "lists what else can be typed. Settings left out are those of the run's recipe, "
        "[decoding]."
    )


def run(arguments: argparse.Namespace) -> int:
    if arguments.json and not arguments.message:
        raise InputError("--json is for --message.")
    model, template = _open(arguments.run, arguments.precision)
    arguments.top_k = _top_k(arguments.top_k, arguments.rerank)
    session = Session(
        model,
        template,
        sampling(model, arguments),
        arguments.system,
        rerank=arguments.rerank,
        min_safe=arguments.min_safe,
    )
    session.check()
    if not arguments.message:
        return _talk(session, arguments.run)
    for text in arguments.message:
        for piece in session.answer(text):
            if not arguments.json:
                _write(piece)
        if not arguments.json:
            _write("\n")
    if arguments.json:
        print_json(
            {
                "run": arguments.run,
                "precision": model.engine.precision,
                "settings": session.decoding.model_dump(exclude={"beam", "length_penalty"}),
                "messages": session.all_messages,
                "forgotten": session.forgotten,
                **({"candidates": _shown(session)} if session.rerank else {}),
            }
        )
    return 0


def _shown(session: Session) -> list[list[dict[str, object]]]:
    """The candidates of every answer, for --json."""
    return [
        [{"text": each.text, "score": each.score, **each.ratings} for each in found]
        for found in session.candidates
    ]


def _top_k(given: int | None, rerank: int) -> int | None:
    """Candidates are sampled from fewer tokens, unless something else is asked for."""
    from xunlian.decoding.rerank import TOP_K

    return TOP_K if rerank and given is None else given


def _open(run: str | Path, precision: str) -> "tuple[LoadedModel, Chat]":
    from xunlian.decoding.conversation import for_conversation
    from xunlian.decoding.model import prepare_language_model
    from xunlian.runs.load import load_folder, load_run
    from xunlian.tokenizer.chat import require_chat

    template = require_chat(load_folder(run))  # before the weights, which take longer
    return for_conversation(prepare_language_model(load_run(run), precision)), template


def _talk(session: Session, name: str) -> int:
    """Read messages until there are no more."""
    in_terminal = sys.stdin.isatty()
    if in_terminal:
        # Ctrl-C only stops an answer, but a program that is told to end does.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  (line editing and history of `input`)
        say(f"Talk with {name}. /help lists commands, /quit leaves.")
    while True:
        try:
            line = _next_line(in_terminal)
        except KeyboardInterrupt:
            if not in_terminal:
                raise
            say("\n(/quit or Ctrl-D leaves)")
            continue
        if line is None or line.strip() == "/quit":
            return 0
        if not line.strip():
            continue
        try:
            if line.startswith("/"):
                _obey(session, line)
                continue
            for piece in session.answer(line.strip()):
                _write(piece)
            _write("\n")
        except InputError as error:
            if not in_terminal:
                raise
            say(str(error))
        except KeyboardInterrupt:
            if not in_terminal:
                raise
            _write("\n")
            say("(stopped)")


def _next_line(in_terminal: bool) -> str | None:
    if in_terminal:
        try:
            return input("> ")
        except EOFError:
            say("")
            return None
    try:
        line = sys.stdin.readline()
    except UnicodeDecodeError as error:
        raise InputError(
            f"A line of standard input is not UTF-8 text ({error.reason}). Save it as UTF-8."
        ) from error
    return line.rstrip("\r\n") if line else None


def _obey(session: Session, line: str) -> None:
    """Carry out a line that begins with a slash."""
    command, _, rest = line.strip().partition(" ")
    rest = rest.strip()
    if command == "/help":
        say(_HELP)
    elif command == "/reset":
        session.messages.clear()
        session.forgotten = 0
        say("(forgotten)")
    elif command == "/system":
        if rest:
            session.system = rest
        say(f"(system: {session.system or 'nothing'})")
    elif command == "/save":
        _save(session, rest)
    else:
        raise InputError(f"There is no command {command}. /help lists them.")


def _save(session: Session, name: str) -> None:
    import orjson

    from xunlian.files import write_text

    if not name:
        raise InputError("Where to? /save FILE")
    if Path(name).exists():
        raise InputError(f"'{name}' exists already. Choose another name.")
    write_text(Path(name), orjson.dumps({"messages": session.all_messages}).decode() + "\n")
    say(f"(saved to {name})")


def _write(text: str) -> None:
    sys.stdout.write(shown(text))
    sys.stdout.flush()
