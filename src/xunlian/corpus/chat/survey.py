"""The first reading of conversations: what is recognized, which of them stay, and the tokenizer.

A byte for each conversation, its verdict, steers the second reading (build.py), as it does for
pairs.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xunlian.console import progress
from xunlian.corpus.chat.clean import clean_conversation
from xunlian.corpus.chat.formats import (
    FORMATS,
    Broken,
    Conversation,
    NoAnswer,
    Unknown,
    conversations_of,
)
from xunlian.corpus.chat.read import CHAT_FORMATS, read_chat_records
from xunlian.corpus.pairs.clean import Seen
from xunlian.corpus.reading.sources import Source, expand_source
from xunlian.corpus.reading.trouble import Advance, BrokenRecords
from xunlian.corpus.sample import Sampler, texts
from xunlian.corpus.split import Holdout, parse_holdout
from xunlian.corpus.vocabulary import make_tokenizer
from xunlian.errors import InputError
from xunlian.recipe.settings import Corpus as CorpusSettings
from xunlian.recipe.settings import Recipe
from xunlian.recipe.settings import Tokenizer as TokenizerSettings
from xunlian.tokenizer.chat import Chat, make_chat
from xunlian.tokenizer.template import Rendered, Template, TemplateError, find_template, plain
from xunlian.tokenizer.tokenizer import Tokenizer, load_tokenizer
from xunlian.tokenizer.train import KINDS

DROPPED, TRAIN, VAL = 0, 1, 2
_BATCH = 1024  # conversations judged at once
Render = Callable[[Conversation], Rendered]


class Read(NamedTuple):
    """A conversation as it is learned, and as text."""

    source: str
    form: str
    turns: Conversation
    rendered: Rendered


@dataclass
class Notes:
    """What was seen while reading: the forms of each file, what was left out, what changed."""

    forms: dict[str, Counter[str]] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)


@dataclass
class Survey:
    """What the first reading found.

    Attributes:
        verdicts: for each conversation of the files to train on, DROPPED, TRAIN or VAL.
        chat: the tokenizer and its template.
        added: special tokens that the tokenizer was given for the template.
        examples: the first conversations.
    """

    settings: CorpusSettings
    train: list[Source]
    val: list[Source]
    chat: Chat
    added: int
    notes: Notes
    verdicts: bytearray
    examples: list[Read]


def survey_chats(recipe: Recipe, examples: int = 0) -> Survey:
    """Read all that `recipe.corpus` names once, and make the tokenizer.

    Args:
        examples: how many conversations to keep for showing.

    Raises:
        InputError: a file is missing, broken or in no known form, no conversation is left, or the
            tokenizer or the template cannot be used.
    """
    corpus, settings = recipe.corpus, recipe.tokenizer
    train, val, holdout = _files(corpus)
    given = _given(settings)
    template, specials = _template(settings, given)
    sampler = None if given else Sampler(settings.sample_bytes)
    notes, verdicts, shown = Notes(), bytearray(), list[Read]()
    seen, kept, size = Seen(), 0, 0
    with progress() as bar:
        task = bar.add_task("read", total=sum(source.size for source in train))
        render = partial(template.render_learned, specials=specials)
        reads = read_chats(train, corpus, notes, render, lambda n: bar.advance(task, n))
        while batch := list(islice(reads, _BATCH)):
            hashes = np.array([_hash(read.rendered.text) for read in batch], dtype=np.uint64)
            for read, repeated in zip(batch, seen.add(hashes), strict=True):
                if repeated:
                    notes.dropped["duplicates"] += 1
                    verdicts.append(DROPPED)
                    continue
                held_out = holdout.is_held_out(kept)
                verdicts.append(VAL if held_out else TRAIN)
                kept += 1
                if len(shown) < examples:
                    shown.append(read)
                if not held_out and sampler:
                    text = _without(read.rendered.text, specials)
                    size += len(text.encode())
                    sampler.add(text)
    _check(verdicts, holdout)
    if given:
        chat, added = make_chat(given, settings.chat_template)
    else:
        assert sampler
        chat, added = _own(settings, template, sampler, size)
    return Survey(corpus, train, val, chat, added, notes, verdicts, shown)


def read_chats(
    sources: list[Source],
    settings: CorpusSettings,
    notes: Notes,
    render: Render,
    advance: Advance,
) -> Iterator[Read]:
    """The cleaned conversations of all files, in order.

    Raises:
        InputError: a file cannot be read, is in no known form, or has broken conversations and
            `settings.on_error` is 'stop'.
    """
    for source in sources:
        forms = notes.forms.setdefault(source.name, Counter())
        what = "line" if source.format == "jsonl" else "record"
        broken = BrokenRecords(source.name, settings.on_error, notes.dropped, what=what)
        fields: list[str] = []
        answers = silent = 0
        for number, record in read_chat_records(source, settings, notes.dropped, advance):
            fields = fields or _fields(record)
            try:
                form, conversations = conversations_of(record)
            except Unknown:
                if not forms and settings.on_error == "stop":
                    raise _unknown(source.name, fields) from None
                broken.add(number, "in none of the known forms")
                continue
            except Broken as error:
                broken.add(number, str(error))
                continue
            forms[form] += 1
            for conversation in conversations:
                try:
                    turns = clean_conversation(conversation, notes.changes)
                    rendered = render(turns)
                except NoAnswer as error:
                    silent += 1
                    broken.add(number, str(error))
                except Broken as error:
                    broken.add(number, str(error))
                except TemplateError as error:
                    broken.add(number, f"the chat template does not take it: {error}")
                else:
                    if not rendered.learned:
                        broken.add(number, "the chat template writes no answer")
                        continue
                    answers += 1
                    yield Read(source.name, form, turns, rendered)
        if not forms and broken.count and fields:
            raise _unknown(source.name, fields)
        if silent and not answers and silent == broken.count:
            raise InputError(
                f"'{source.name}' has no answers: no turn of its {silent:,} conversations is the "
                f"assistant's. The first has the fields {', '.join(fields) or 'of a list'}. Known "
                f"are {FORMATS}."
            )
        broken.finish()


def _unknown(name: str, fields: list[str]) -> InputError:
    return InputError(
        f"'{name}' has no conversations in a known form: its fields are {', '.join(fields)}. "
        f"Known are {FORMATS}."
    )


def _fields(record: object) -> list[str]:
    if isinstance(record, dict):
        return [str(key) for key in record]
    return [f"(a {type(record).__name__}, no object)"]


def _files(corpus: CorpusSettings) -> tuple[list[Source], list[Source], Holdout]:
    if not corpus.sources:
        raise InputError("Nothing to prepare: name files of conversations, or set corpus.sources.")
    train = _expand(corpus.source_paths)
    holdout = parse_holdout(corpus.val)
    if holdout is not None:
        return train, [], holdout
    val = _expand(corpus.val)
    held_out = {source.path.resolve() for source in val}
    train = [source for source in train if source.path.resolve() not in held_out]
    if not train:
        raise InputError(
            f"corpus.val = '{', '.join(corpus.val)}' is all there is: nothing is left to train on."
        )
    return train, val, Holdout(Fraction(0))


def _expand(given: tuple[str, ...]) -> list[Source]:
    found = [source for name in given for source in expand_source(name, CHAT_FORMATS)]
    for source in found:
        if source.format not in CHAT_FORMATS.values():
            raise InputError(
                f"'{source.name}' is no file of conversations: these end in "
                f"{', '.join(CHAT_FORMATS)}."
            )
    return found


def _given(settings: TokenizerSettings) -> Tokenizer | None:
    """The tokenizer that is reused, if one is."""
    if settings.separate:
        raise InputError("tokenizer.separate = true is for pairs. Leave it out.")
    if settings.kind in KINDS or not Path(settings.kind).exists():
        return None
    tokenizer = load_tokenizer(settings.kind)
    if settings.vocab_size not in (None, tokenizer.vocab_size):
        raise InputError(
            f"tokenizer.vocab_size = {settings.vocab_size}, but '{settings.kind}' has "
            f"{tokenizer.vocab_size} tokens. Leave vocab_size out."
        )
    return tokenizer


def _template(
    settings: TokenizerSettings, given: Tokenizer | None
) -> tuple[Template, tuple[str, ...]]:
    """The template, and the special tokens that it writes."""
    if given:
        chat, _ = make_chat(given, settings.chat_template)
        return chat.template, chat.specials
    template = find_template(settings.chat_template or "chatml", {"eos_token": ""})
    return template, template.tokens


def _own(
    settings: TokenizerSettings, template: Template, sampler: Sampler, size: int
) -> tuple[Chat, int]:
    """A tokenizer learned from the conversations; the template's tokens count as special ones."""
    if settings.vocab_size is not None:
        smaller = max(2, settings.vocab_size - len(template.tokens))
        settings = settings.model_copy(update={"vocab_size": smaller})
    learned = make_tokenizer(settings, lambda: texts(sampler.excerpts()), size)
    return make_chat(learned, settings.chat_template)


def _without(text: str, specials: tuple[str, ...]) -> str:
    for token in specials:
        text = text.replace(token, "")
    return plain(text)


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def _check(verdicts: bytearray, holdout: Holdout) -> None:
    kept = len(verdicts) - verdicts.count(DROPPED)
    if not kept:
        raise InputError("No conversation is left to train on: the files hold none that can be.")
    if (holdout.fraction and VAL not in verdicts) or TRAIN not in verdicts:
        raise InputError(
            f"{kept:,} conversations are too few to hold out {float(holdout.fraction):g} of them. "
            "Use --val 0, or files."
        )
