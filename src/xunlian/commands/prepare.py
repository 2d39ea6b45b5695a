"""`xunlian prepare`: raw text in, a corpus of token shards out."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from xunlian.commands.prepare_recipe import is_override, named_recipe, recipe_for
from xunlian.commands.prepare_summary import summarize
from xunlian.errors import InputError
from xunlian.hub import PREFIX
from xunlian.recipe.settings import CHAT_TASKS, PAIR_TASKS, Recipe

if TYPE_CHECKING:
    from xunlian.shards.corpus import Corpus


def prepare(
    *inputs: str | Path,
    out: str | Path,
    pairs: bool = False,
    chat: bool = False,
    preference: bool = False,
    template: str | Path | None = None,
    show: int = 0,
    val: str | float | Path | Sequence[str | Path] | None = None,
    tokenizer: str | Path | None = None,
    vocab_size: int | None = None,
    on_error: str | None = None,
    overrides: Sequence[str] = (),
    workers: int | None = None,
    download: bool = False,
    engine: Literal["local", "ray"] = "local",
    address: str | None = None,
    work: str | Path | None = None,
    keep_text: bool = False,
) -> "Corpus":
    """Prepare text files, folders or globs (or a recipe's `corpus.sources`) into a corpus folder.

    Args:
        inputs: files, folders, globs, `sample:NAME`; or one recipe (a .toml file or the name of a
            shipped one).
        out: the folder to make.
        pairs: the inputs are pairs, for translation (or, with the override `task=summarization`,
            for that): aligned text files two by two, source before target, or files that hold
            both sides (.tsv, .csv, .jsonl, .parquet, .tmx). A recipe says so by its task.
        chat: the inputs are conversations (.json, .jsonl, .parquet, .csv, .tsv), in any of the
            usual forms. A recipe says so by its task.
        preference: the inputs are preferences, a chosen and a rejected answer to each prompt, in
            files as for `chat`. A recipe says so by its task.
        template: of conversations and preferences, the chat template: 'chatml', a .jinja file or
            a model folder.
        show: of conversations and preferences, print so many as they were understood.
        val: a fraction to hold out (0: none), or files, folders or globs to validate on.
        tokenizer: bpe, unigram, wordpiece, byte, char, or what has a tokenizer to reuse: a
            tokenizer.json, a model folder, or hf:owner/name.
        vocab_size: number of tokens; derived from the amount of text when None.
        on_error: 'stop' at a broken record, or 'skip' and count it.
        overrides: `key=value` for the tables [corpus] and [tokenizer], and `task=...`.
        workers: processes; the result does not depend on their number.
        download: fetch the files that a recipe names in `corpus.download` and that are not there.
        engine: local: processes on this machine. ray: the cluster at `address`, or one that is
            started on this machine. Both make the same bytes.
        work: a folder to keep what is done in, so that another preparation with other settings
            does only what differs. By default one beside `out`, until `out` is whole.
        keep_text: leave the cleaned documents in `out`/text, too.

    Raises:
        InputError: anything is wrong with the input. Nothing is left behind, but of several files
            those that were done already, in `out`.work, for the next start.
        XunlianError: a file could not be fetched, or is another than the recipe means.
    """
    recipe = recipe_for(
        inputs,
        pairs=pairs,
        chat=chat,
        preference=preference,
        template=template,
        val=val,
        tokenizer=tokenizer,
        vocab_size=vocab_size,
        on_error=on_error,
        overrides=overrides,
    )
    if download:
        from xunlian.corpus.reading.download import fetch

        fetch(recipe.corpus)
    return prepare_from_recipe(
        recipe,
        Path(out),
        workers,
        engine=engine,
        address=address,
        work=Path(work) if work else None,
        keep_text=keep_text,
        show=show,
    )


def prepare_from_recipe(
    recipe: Recipe,
    out: Path,
    workers: int | None = None,
    engine: Literal["local", "ray"] = "local",
    address: str | None = None,
    work: Path | None = None,
    keep_text: bool = False,
    show: int = 0,
) -> "Corpus":
    """Prepare `recipe.corpus.sources` into the folder `out`.

    Raises:
        InputError: as `prepare`.
    """
    if workers is not None and workers < 1:
        raise InputError(f"workers = {workers}: at least 1.")
    from xunlian.corpus.reading.download import require

    require(recipe.corpus)
    start = recipe.tokenizer.kind
    if start == recipe.model.init_from and not (start.startswith(PREFIX) or Path(start).exists()):
        from xunlian.runs.load import load_folder

        load_folder(start)  # which says how to get it
    if address and engine != "ray":
        raise InputError(f"--address {address} is a Ray cluster's; add --engine ray.")
    if recipe.task not in CHAT_TASKS:
        _refuse("is for conversations; add --chat", template=recipe.tokenizer.chat_template)
    if recipe.task != "language-model":
        what = f"{CHAT_TASKS.get(recipe.task, 'pairs')} are"
        _refuse(
            f"is for text; {what} prepared on this machine", engine=engine != "local", work=work
        )
        _refuse(f"is for text; {what} read back with `xunlian info`", keep_text=keep_text)
    if recipe.task in CHAT_TASKS:
        from xunlian.commands.prepare_chat import show_chats
        from xunlian.corpus.chat.build import build_chat_corpus

        corpus = build_chat_corpus(recipe, out, show, show_chats if show else None)
    elif recipe.task in PAIR_TASKS:
        from xunlian.corpus.pairs.build import build_pair_corpus

        corpus = build_pair_corpus(recipe, out, workers)
    else:
        from xunlian.corpus.build import build_corpus
        from xunlian.corpus.engines.engine import Engine

        if recipe.tokenizer.separate:
            raise InputError(
                "tokenizer.separate = true is for pairs; a text has one tokenizer. Leave it out, "
                "or prepare pairs with --pairs."
            )
        corpus = build_corpus(
            recipe.corpus,
            recipe.tokenizer,
            out,
            Engine(engine, workers, address),
            work=work,
            keep_text=keep_text,
        )
    summarize(corpus)
    return corpus


def _refuse(why: str, **options: object) -> None:
    for name, given in options.items():
        if given:
            raise InputError(f"--{name.replace('_', '-')} {why}.")


def add_arguments(parser: ArgumentParser) -> None:
    """The options of `xunlian prepare`."""
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="files (.txt .md .html .warc .jsonl .csv .tsv .parquet .arrow .pdf, each also .gz "
        ".zst .bz2 .xz, and .zip .tar), folders, globs, URLs; or a recipe, with files behind it; "
        "and key=value settings of [corpus] and [tokenizer]",
    )
    parser.add_argument("--out", metavar="CORPUS", help="the folder to make")
    parser.add_argument(
        "--pairs",
        nargs="+",
        metavar="FILE",
        help="pairs for translation (or task=summarization) in place of INPUT: aligned text files "
        "two by two, source before target, or files with both sides (.tsv .csv .jsonl .parquet "
        ".tmx)",
    )
    parser.add_argument(
        "--chat",
        action="store_true",
        help="INPUT holds conversations (.json .jsonl .parquet .csv .tsv): messages, ShareGPT, "
        "Alpaca, prompt and completion, lists of turns",
    )
    parser.add_argument(
        "--preference",
        action="store_true",
        help="INPUT holds a chosen and a rejected answer to each prompt (files as for --chat): "
        "texts, messages, or whole dialogues of both",
    )
    parser.add_argument(
        "--template",
        metavar="NAME|FILE",
        help="with --chat or --preference: the chat template, chatml, a .jinja file or a model "
        "folder (default: that of a given tokenizer, else chatml)",
    )
    parser.add_argument(
        "--val",
        nargs="+",
        metavar="FILE|FRACTION",
        help="validation text: a file (of pairs also two), or the fraction of the documents held "
        "out (default 0.05)",
    )
    parser.add_argument(
        "--tokenizer",
        metavar="KIND|FILE",
        help="bpe (default), unigram, wordpiece, byte, char; or a tokenizer.json, a model folder "
        "or hf:owner/name whose tokenizer is reused",
    )
    parser.add_argument(
        "--vocab-size", type=int, metavar="N", help="tokens (default: from the amount of text)"
    )
    parser.add_argument(
        "--on-error",
        choices=("stop", "skip"),
        help="at a broken line or record: stop and name it (default), or skip and count it",
    )
    parser.add_argument(
        "--download",
        action="store_true",
        help="fetch the files that the recipe names as public and that are not there; checks size "
        "and SHA-256",
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: all cores)")
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="who does the work: processes on this machine (default), or a Ray cluster; the result "
        "is the same",
    )
    parser.add_argument(
        "--address",
        metavar="ADDRESS",
        help="of the Ray cluster, such as auto or ray://HOST:10001 (default: one on this machine)",
    )
    parser.add_argument(
        "--work",
        metavar="FOLDER",
        help="keep what is done here, so that preparing with other settings does only what differs",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="write nothing; show what would become of a few documents",
    )
    parser.add_argument(
        "--show",
        type=int,
        metavar="N",
        help="with --dry-run: how many (default 20); with --chat or --preference: show so many as "
        "they were understood, and which tokens are learned",
    )
    parser.add_argument(
        "--keep-text", action="store_true", help="leave the cleaned documents in CORPUS/text, too"
    )


def run(arguments: Namespace) -> int:
    """Carry out `xunlian prepare`; the exit status."""
    pairs, val = arguments.pairs or [], arguments.val or []
    given = [*arguments.inputs, *pairs, *val]
    overrides = [text for text in given if is_override(text)]
    inputs, pairs, val = (
        [text for text in texts if not is_override(text)]
        for texts in (arguments.inputs, pairs, val)
    )
    if pairs and inputs:
        raise InputError(
            f"'{inputs[0]}' stands beside --pairs, which names all the files. For the pairs of a "
            "recipe leave --pairs out: its task says what it learns from."
        )
    if not (pairs or named_recipe(inputs[:1])):
        # Texts may stand behind the option: --val 0.1 book.txt
        inputs, val = inputs + val[1:], val[:1]
    if bool(pairs) + arguments.chat + arguments.preference > 1:
        raise InputError("--pairs, --chat and --preference exclude each other: name one.")
    if arguments.show is not None and arguments.show < 1:
        raise InputError(f"--show {arguments.show}: at least 1.")
    if not (pairs or inputs):
        raise InputError("Nothing to prepare: name files, folders, a recipe, or --pairs FILE ...")
    if arguments.dry_run:
        return _dry_run(arguments, inputs or pairs, bool(pairs), val, overrides)
    if not arguments.out:
        raise InputError("Where to? Name the folder to make: --out CORPUS")
    prepare(
        *(inputs or pairs),
        out=arguments.out,
        pairs=bool(pairs),
        chat=arguments.chat,
        preference=arguments.preference,
        template=arguments.template,
        show=arguments.show or 0,
        val=val or None,
        tokenizer=arguments.tokenizer,
        vocab_size=arguments.vocab_size,
        on_error=arguments.on_error,
        overrides=overrides,
        workers=arguments.workers,
        download=arguments.download,
        engine=arguments.engine,
        address=arguments.address,
        work=arguments.work,
        keep_text=arguments.keep_text,
    )
    return 0


def _dry_run(
    arguments: Namespace, inputs: list[str], pairs: bool, val: list[str], overrides: list[str]
) -> int:
    recipe = recipe_for(
        inputs,
        pairs=pairs,
        chat=arguments.chat,
        preference=arguments.preference,
        template=arguments.template,
        val=val or None,
        tokenizer=arguments.tokenizer,
        vocab_size=arguments.vocab_size,
        on_error=arguments.on_error,
        overrides=overrides,
    )
    if recipe.task in PAIR_TASKS:
        raise InputError("--dry-run is for text; it does not show pairs yet.")
    count = arguments.show or 20
    if recipe.task in CHAT_TASKS:
        from xunlian.commands.prepare_chat import show_chats
        from xunlian.corpus.chat.survey import survey_chats

        show_chats(survey_chats(recipe, count))
        return 0
    from xunlian.commands.prepare_preview import show_preview

    show_preview(recipe.corpus, count)
    return 0
