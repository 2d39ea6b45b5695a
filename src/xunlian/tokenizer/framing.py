"""The special tokens around the texts of pairs, and the languages that some models read off them.

    ours, Pegasus, Marian      text </s>                 targets the same
    BART                       <s> text </s>             targets the same
    M2M100, NLLB, mBART-50     language text </s>        targets in their language
    mBART-25                   text </s> language        targets in their language

A tokenizer.json says it in its template: what stands around one text is around a source. Where the
template of two texts marks what stands around the second with the type 1, and it is as much, that
is around a target; in other people's files it is not, and a target looks as a source does.

What the decoder reads first, where a model's files do not say it, is the last token of its target's
frame, as fairseq has it.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers
from tokenizers import processors

from xunlian.errors import InputError, did_you_mean
from xunlian.files import read_json
from xunlian.tokenizer.tokenizer import Tokenizer, with_end_template, wrap

Languages = tuple[str | None, str | None]

FRAMED = ("bart", "mbart", "m2m_100")
"""Model types whose frames are more than the end token."""

# __en__ of M2M100, eng_Latn of NLLB, en_XX of mBART
_LANGUAGE = re.compile(r"__([a-z]{2,3})__|([a-z]{2,3}_[A-Z][A-Za-z]+)")


class Frame(NamedTuple):
    """Token ids before a text, and those after it: the end token and what may follow it."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def size(self) -> int:
        return len(self.before) + len(self.after)

    def around(self, tokens: list[int]) -> list[int]:
        return [*self.before, *tokens, *self.after]


class Frames(NamedTuple):
    """How the pairs of a model look.

    `start_id` is what the decoder reads first, None where the model's files do not say it;
    `forced` are new tokens that every target begins with.
    """

    source: Frame
    target: Frame
    start_id: int | None
    forced: tuple[int, ...] = ()


def read_frames(tokenizer: Tokenizer) -> tuple[Frame, Frame]:
    """What a tokenizer's file puts around a source and around a target."""
    single = tokenizer.backend.encode("", add_special_tokens=True).ids
    source = _frame(single, tokenizer.end_id)
    second = _of_second(tokenizer)
    return source, _frame(second, tokenizer.end_id) if len(second) == len(single) else source


def names_both_sides(tokenizer: Tokenizer) -> bool:
    """Whether the file was written by `with_frames`."""
    return (
        0
        < len(_of_second(tokenizer))
        == len(tokenizer.backend.encode("", add_special_tokens=True).ids)
    )


def with_frames(tokenizer: Tokenizer, source: Frame, target: Frame) -> Tokenizer:
    """The tokenizer whose file says that these stand around the texts of pairs.

    Transformers then makes of a text the ids of a source.
    """
    backend = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
    ids = sorted({*source.before, *source.after, *target.before, *target.after})
    names = [backend.id_to_token(i) for i in ids]
    backend.add_special_tokens(names)  # so that none of them is part of a decoded text

    def template(frame: Frame, text: str, type_: int) -> list[str]:
        before, after = ([backend.id_to_token(i) for i in ids] for ids in frame)
        return [f"{piece}:{type_}" for piece in (*before, text, *after)]

    single = template(source, "$A", 0)
    backend.post_processor = processors.TemplateProcessing(
        single=single,
        pair=[*single, *template(target, "$B", 1)],
        special_tokens=list(zip(names, ids, strict=True)),
    )
    pad = None if tokenizer.pad_id is None else backend.id_to_token(tokenizer.pad_id)
    return wrap(backend, tokenizer.end_token, pad, tokenizer.names, tokenizer.chat_template)


def for_pairs(tokenizer: Tokenizer, path: Path, languages: Languages) -> Tokenizer:
    """A given tokenizer as a corpus of pairs keeps it: with the frames of the model it is from.

    Args:
        path: where it lies, a model folder, a run, or a tokenizer.json.
        languages: codes of the source's and the target's, None where not known.

    Raises:
        InputError: the model tells languages apart, and one is missing or none of its own.
    """
    folder = _folder_of(path)
    if not is_framed(tokenizer, folder):
        return with_end_template(tokenizer)
    how = "corpus.source_language=... and corpus.target_language=..."
    frames = model_frames(tokenizer, folder, languages, how)
    return with_frames(tokenizer, frames.source, frames.target)


def start_of_targets(tokenizer: Tokenizer, path: Path | None) -> int:
    """What a decoder reads before the targets of a corpus whose tokenizer is `tokenizer`.

    `path` is where it was given, as in `for_pairs`; None: it was learned.
    """
    last = read_frames(tokenizer)[1].after[-1]
    if last != tokenizer.end_id:
        return last  # a language
    if path is not None and is_framed(tokenizer, folder := _folder_of(path)):
        start_id = read_start_id(folder)
        return tokenizer.end_id if start_id is None else start_id
    return tokenizer.end_id if tokenizer.pad_id is None else tokenizer.pad_id


def is_framed(tokenizer: Tokenizer, folder: Path) -> bool:
    """Whether the pairs of the model in `folder` have more around them than the end token."""
    return _field(folder, "model_type") in FRAMED or names_both_sides(tokenizer)


def known_languages(tokenizer: Tokenizer, folder: Path) -> dict[str, int]:
    """Code -> token of the languages that the model in `folder` tells apart; often none."""
    tells = is_framed(tokenizer, folder) and _field(folder, "model_type") != "bart"
    return languages_of(tokenizer) if tells else {}


def model_frames(tokenizer: Tokenizer, folder: Path, languages: Languages, how: str) -> Frames:
    """What stands around the texts of pairs for the model in `folder`.

    Args:
        languages: codes of the source's and the target's; None: what the tokenizer's file says.
        how: for messages: how a user names languages.

    Raises:
        InputError: the model tells languages apart, and one is missing or none of its own.
    """
    start_id, end = read_start_id(folder), tokenizer.end_id
    if not is_framed(tokenizer, folder):
        return Frames(Frame((), (end,)), Frame((), (end,)), start_id)
    source, target = read_frames(tokenizer)
    both = names_both_sides(tokenizer)
    known = known_languages(tokenizer, folder)
    if not known:
        forced_id = read_forced_id(folder)
        forced = () if forced_id is None else (forced_id,)
        return Frames(source, target, start_id, target.before if both else forced)
    tokens = []
    for code, frame in zip(languages, (source, target), strict=True):
        if code is None and not both:
            raise InputError(
                f"'{folder}' tells languages apart, and the two of the pairs are not named. Say "
                f"them with {how}; it has {', '.join(sorted(known))}."
            )
        tokens.append(_of_frame(frame, known) if code is None else _find(code, known, folder))
    if _languages_last(folder, source, known, start_id == end):
        source, target = (Frame((), (end, token)) for token in tokens)
        return Frames(source, target, target.after[-1])
    source, target = (Frame((token,), (end,)) for token in tokens)
    return Frames(source, target, end if start_id is None else start_id, target.before)


def _languages_last(
    folder: Path, source: Frame, known: dict[str, int], starts_with_end: bool
) -> bool:
    """Whether languages stand behind the end token, as in mBART-25.

    The template tells it, but not of NLLB, whose older files put them where they were not trained.
    """
    if _field(folder, "model_type") == "m2m_100":
        return False
    if not {*source.before, *source.after} & set(known.values()):
        return not starts_with_end
    return source.after[-1] in known.values()


def _of_frame(frame: Frame, known: dict[str, int]) -> int:
    return next(i for i in (*frame.before, *frame.after) if i in known.values())


def languages_of(tokenizer: Tokenizer) -> dict[str, int]:
    """The special tokens that name a language: its code -> the token."""
    added = tokenizer.backend.get_added_tokens_decoder().values()
    names = [token.content for token in added if token.special]
    # Transformers 5 lists those of mBART-50 here only.
    for key in ("additional_special_tokens", "extra_special_tokens"):
        listed = tokenizer.names.get(key)
        names += map(str, listed) if isinstance(listed, list | tuple) else ()
    found = {}
    for name in names:
        token = tokenizer.backend.token_to_id(name)
        if token is not None and (match := _LANGUAGE.fullmatch(name)):
            found[match[1] or match[2]] = token
    return found


def read_start_id(folder: Path) -> int | None:
    """The token that an encoder-decoder's targets start from, if the folder's files name it."""
    found = _field(folder, "decoder_start_token_id")
    return found if isinstance(found, int) else None


def read_forced_id(folder: Path) -> int | None:
    """The token that every target must begin with, if the folder's files name one."""
    found = _field(folder, "forced_bos_token_id")
    return found if isinstance(found, int) else None


def _folder_of(path: Path) -> Path:
    folder = path if path.is_dir() else path.parent
    return folder / "model" if (folder / "recipe.toml").is_file() else folder


def _find(code: str, known: dict[str, int], folder: Path) -> int:
    """The token of a language; its bare code is enough where only one region or script has it."""
    same = [name for name in known if name == code or name.split("_")[0] == code]
    if code in known or len(same) == 1:
        return known[code if code in known else same[0]]
    if same:
        raise InputError(f"'{folder}' has more than one '{code}'. Say {' or '.join(same)}.")
    raise InputError(
        f"'{folder}' has no language '{code}'.{did_you_mean(code, list(known))} It has "
        f"{', '.join(sorted(known))}."
    )


def _frame(ids: list[int], end_id: int) -> Frame:
    if end_id not in ids:
        return Frame(tuple(ids), (end_id,))
    place = ids.index(end_id)
    return Frame(tuple(ids[:place]), tuple(ids[place:]))


def _of_second(tokenizer: Tokenizer) -> list[int]:
    """The special tokens that the file counts to the second of two texts."""
    both = tokenizer.backend.encode("", "", add_special_tokens=True)
    return [token for token, type_ in zip(both.ids, both.type_ids, strict=True) if type_ == 1]


def _field(folder: Path, name: str) -> Any:
    """Of generation_config.json, or else of config.json."""
    for file in (folder / "generation_config.json", folder / "config.json"):
        if file.is_file():
            fields = read_json(file)
            found = fields.get(name) if isinstance(fields, dict) else None
            if found is not None:
                return found
    return None
