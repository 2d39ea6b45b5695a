"""The first reading of conversations or preferences: what is recognized, which of them stay, and
the tokenizer.

A byte for each conversation, its verdict, steers the second reading (build.py), as it does for
pairs.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from hashlib import blake2b
from itertools import islice
from typing import NamedTuple

import numpy as np

from xunlian.console import progress
from xunlian.corpus.chat.formats import Broken, Conversation, NoAnswer, Unknown
from xunlian.corpus.chat.kinds import CHATS, Kind, Render, Side, kind_of
from xunlian.corpus.chat.preference import SIDES
from xunlian.corpus.chat.read import CHAT_FORMATS, read_chat_records
from xunlian.corpus.pairs.clean import Seen
from xunlian.corpus.reading.sources import Source, expand_source
from xunlian.corpus.reading.trouble import Advance, BrokenRecords, ignore
from xunlian.corpus.sample import Sampler, texts
from xunlian.corpus.split import Holdout, parse_holdout
from xunlian.corpus.vocabulary import given_place, make_tokenizer
from xunlian.errors import InputError
from xunlian.recipe.settings import Corpus as CorpusSettings
from xunlian.recipe.settings import Recipe
from xunlian.recipe.settings import Tokenizer as TokenizerSettings
from xunlian.tokenizer.chat import Chat, Tokens, make_chat
from xunlian.tokenizer.ratings import (
    ALL_TOKENS,
    Ratings,
    rated,
    rating_text,
    rating_tokens,
    read_ratings,
    with_ratings,
)
from xunlian.tokenizer.template import Template, TemplateError, find_template, plain
from xunlian.tokenizer.tokenizer import Tokenizer, load_tokenizer

DROPPED, TRAIN, VAL = 0, 1, 2
_BATCH = 1024  # conversations judged at once


class Read(NamedTuple):
    """What one record holds: a conversation, or the two of a preference; with `ratings`, these are
    what is learned of it."""

    source: str
    form: str
    sides: tuple[Side, ...]
    ratings: Ratings = ()


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
        added: special tokens that the tokenizer was given for the template and for ratings.
        examples: the first conversations.
    """

    kind: Kind
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
    kind = kind_of(recipe.task)
    train, val, holdout = _files(corpus, kind)
    given = _given(settings)
    template, specials = _template(settings, given)
    specials = (*specials, *ALL_TOKENS)  # which attributes are rated is only known in the end
    sampler = None if given else Sampler(settings.sample_bytes)
    notes, verdicts, shown = Notes(), bytearray(), list[Read]()
    seen, kept, size, attributes = Seen(), 0, 0, set[str]()
    render = partial(template.render_learned, specials=specials)
    # What is validated on is not trained on, either.
    held = read_chats(val, corpus, Notes(), render, ignore, kind)
    while batch := list(islice(held, _BATCH)):
        seen.add(np.array([_hash(read) for read in batch], dtype=np.uint64))
    with progress() as bar:
        task = bar.add_task("read", total=sum(source.size for source in train))
        reads = read_chats(train, corpus, notes, render, lambda n: bar.advance(task, n), kind)
        while batch := list(islice(reads, _BATCH)):
            hashes = np.array([_hash(read) for read in batch], dtype=np.uint64)
            for read, repeated in zip(batch, seen.add(hashes), strict=True):
                if repeated:
                    notes.dropped["duplicates"] += 1
                    verdicts.append(DROPPED)
                    continue
                held_out = holdout.is_held_out(kept)
                verdicts.append(VAL if held_out else TRAIN)
                kept += 1
                attributes.update(name for name, _ in read.ratings)
                if len(shown) < examples:
                    shown.append(read)
                if not held_out and sampler:
                    for side in read.sides:
                        text = _without(side.rendered.text, specials)
                        size += len(text.encode())
                        sampler.add(text)
    _check(verdicts, holdout, kind)
    if given:
        chat, added = make_chat(given, settings.chat_template)
    else:
        assert sampler
        chat, added = _own(settings, template, sampler, size, len(rating_tokens(attributes)))
    chat, more = with_ratings(chat, attributes)
    added += more
    return Survey(kind, corpus, train, val, chat, added, notes, verdicts, shown)


def read_chats(
    sources: list[Source],
    settings: CorpusSettings,
    notes: Notes,
    render: Render,
    advance: Advance,
    kind: Kind = CHATS,
) -> Iterator[Read]:
    """The cleaned conversations (or what else `kind` says) of all files, in order.

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
                form, candidates = kind.parse(record)
                ratings = _ratings(record, candidates) if kind is CHATS else ()
            except Unknown:
                if not forms and settings.on_error == "stop":
                    raise _unknown(source.name, fields, kind) from None
                broken.add(number, "in none of the known forms")
                continue
            except Broken as error:
                broken.add(number, str(error))
                continue
            forms[form] += 1
            for candidate in candidates:
                try:
                    sides = kind.learn(candidate, notes.changes, render)
                except NoAnswer as error:
                    silent += 1
                    broken.add(number, str(error))
                except Broken as error:
                    broken.add(number, str(error))
                except TemplateError as error:
                    broken.add(number, f"the chat template does not take it: {error}")
                else:
                    if not all(side.rendered.learned for side in sides):
                        broken.add(number, "the chat template writes no answer")
                        continue
                    answers += 1
                    yield Read(source.name, form, sides, ratings)
        if not forms and broken.count and fields:
            raise _unknown(source.name, fields, kind)
        if silent and not answers and silent == broken.count:
            raise InputError(
                f"'{source.name}' has no answers: no turn of its {silent:,} conversations is the "
                f"assistant's. The first has the fields {', '.join(fields) or 'of a list'}. Known "
                f"are {kind.formats}."
            )
        broken.finish()


def encode_reads(chat: Chat, reads: Sequence[Read], number: int = 0) -> list[Tokens]:
    """What is learned of a side: each conversation as it is, or a sequence for each of its ratings.

    Raises:
        InputError: `chat` cannot rate an attribute.
    """
    found: list[Tokens] = []
    encoded = chat.encode([read.sides[number].rendered for read in reads])
    for read, tokens in zip(reads, encoded, strict=True):
        found += rated(tokens, read.ratings, chat.tokenizer) if read.ratings else [tokens]
    return found


def _ratings(record: object, conversations: Sequence[Conversation]) -> Ratings:
    """Raises Broken: the ratings are none, or of nothing."""
    try:
        ratings = read_ratings(record.get("ratings") if isinstance(record, dict) else None)
    except ValueError as error:
        raise Broken(str(error)) from error
    if ratings and [turns[-1]["role"] for turns in conversations] != ["assistant"]:
        raise Broken("it has ratings, which are of a last answer, and does not end with one")
    return ratings


def _unknown(name: str, fields: list[str], kind: Kind) -> InputError:
    mend = ""
    if kind is CHATS and set(SIDES) <= set(fields):
        mend = " Chosen and rejected answers are prepared with --preference."
    return InputError(
        f"'{name}' has no {kind.what} in a known form: its fields are {', '.join(fields)}. "
        f"Known are {kind.formats}.{mend}"
    )


def _fields(record: object) -> list[str]:
    if isinstance(record, dict):
        return [str(key) for key in record]
    return [f"(a {type(record).__name__}, no object)"]


def _files(corpus: CorpusSettings, kind: Kind) -> tuple[list[Source], list[Source], Holdout]:
    if not corpus.sources:
        raise InputError(f"Nothing to prepare: name files of {kind.what}, or set corpus.sources.")
    train = _expand(corpus.source_paths, kind)
    holdout = parse_holdout(corpus.val)
    if holdout is not None:
        return train, [], holdout
    val = _expand(corpus.val, kind)
    held_out = {source.path.resolve() for source in val}
    train = [source for source in train if source.path.resolve() not in held_out]
    if not train:
        raise InputError(
            f"corpus.val = '{', '.join(corpus.val)}' is all there is: nothing is left to train on."
        )
    return train, val, Holdout(Fraction(0))


def _expand(given: tuple[str, ...], kind: Kind) -> list[Source]:
    found = [source for name in given for source in expand_source(name, CHAT_FORMATS)]
    for source in found:
        if source.format not in CHAT_FORMATS.values():
            raise InputError(
                f"'{source.name}' is no file of {kind.what}: these end in "
                f"{', '.join(CHAT_FORMATS)}."
            )
    return found


def _given(settings: TokenizerSettings) -> Tokenizer | None:
    """The tokenizer that is reused, if one is."""
    if settings.separate:
        raise InputError("tokenizer.separate = true is for pairs. Leave it out.")
    place = given_place(settings)
    if place is None:
        return None
    tokenizer = load_tokenizer(place)
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
    settings: TokenizerSettings, template: Template, sampler: Sampler, size: int, later: int
) -> tuple[Chat, int]:
    """A tokenizer learned from the conversations; the template's tokens, and the `later` ones of
    ratings, count as special ones."""
    if settings.vocab_size is not None:
        smaller = max(2, settings.vocab_size - len(template.tokens) - later)
        settings = settings.model_copy(update={"vocab_size": smaller})
    learned = make_tokenizer(settings, lambda: texts(sampler.excerpts()), size)
    return make_chat(learned, settings.chat_template)


def _without(text: str, specials: tuple[str, ...]) -> str:
    for token in specials:
        text = text.replace(token, "")
    return plain(text)


def _hash(read: Read) -> int:
    text = "\0".join(side.rendered.text for side in read.sides) + rating_text(read.ratings)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def _check(verdicts: bytearray, holdout: Holdout, kind: Kind) -> None:
    kept = len(verdicts) - verdicts.count(DROPPED)
    if not kept:
        raise InputError(
            f"None of the {kind.what} is left to train on: the files hold none that can be."
        )
    if (holdout.fraction and VAL not in verdicts) or TRAIN not in verdicts:
        raise InputError(
            f"{kept:,} {kind.what} are too few to hold out {float(holdout.fraction):g} of them. "
            "Use --val 0, or files."
        )
