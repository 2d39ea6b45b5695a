"""A tokenizer as llama.cpp reads it: its fields of a GGUF file.

llama.cpp has no tokenizer.json: it has a few tokenizers built in, and a file names one of them. Two
are ours: `gpt2`, byte-level BPE whose split pattern is named too, and `llama`, SentencePiece's BPE,
which does what our `char` does when no token is longer than a character. It joins the pair whose
token has the highest score, so the rank of a merge becomes a score.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson

from xunlian.errors import InputError
from xunlian.tokenizer.chat import Chat
from xunlian.tokenizer.patterns import BYTE_TOKENS, WORDS
from xunlian.tokenizer.template import template_of
from xunlian.tokenizer.tokenizer import Tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""Kinds of tokens, as GGUF numbers them."""

# Split pattern -> llama.cpp's name of it.
_PATTERNS = {
    WORDS: "qwen2",
    WORDS.replace(r"|\p{N}|", r"|\p{N}{1,3}|"): "llama-bpe",
}
_DIGITS = {"type": "Digits", "individual_digits": True}
_SPACE = "▁"  # how SentencePiece writes a space
_SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
_FIRST_SPACE = {"type": "Prepend", "prepend": _SPACE}
_NO_MERGE = "Ā ā"  # bytes 0 and 1: no array may be empty, and no vocabulary has the two joined


@dataclass(frozen=True)
class TokenizerFields:
    """What goes under `tokenizer.` in a GGUF file. `merges` are BPE's, `scores` SentencePiece's,
    `space_first` says whether a text gets a space before it; `turn_end_id` ends an answer of a
    chat."""

    model: str
    pre: str
    tokens: list[str]
    kinds: list[int]
    merges: list[str] | None
    scores: list[float] | None
    space_first: bool
    start_id: int
    add_start: bool
    add_end: bool
    turn_end_id: int | None


def tokenizer_fields(tokenizer: Tokenizer, folder: Path, rows: int) -> TokenizerFields:
    """The fields of `tokenizer`, which stands in `folder`; the model has `rows` tokens.

    Raises:
        InputError: llama.cpp has no tokenizer that would give the same tokens.
    """
    content = orjson.loads(tokenizer.backend.to_str())
    if content["model"]["type"] != "BPE":
        raise _unknown(content["model"]["type"].lower(), folder)
    space_first = _space_first(content)
    normalizer = (content["normalizer"] or {}).get("type")
    # llama.cpp leaves out NFC, which changes nothing in text that is composed already.
    if space_first is None and normalizer not in (None, "NFC"):
        raise _unknown("BPE with a normalizer of its own", folder)
    tokens, kinds = _tokens(tokenizer, rows)
    marked = tokenizer.backend.encode("a", add_special_tokens=True).ids
    plain = tokenizer.encode("a")
    place = next(i for i in range(len(marked)) if marked[i : i + len(plain)] == plain)
    template = template_of(tokenizer, str(folder))
    pre, merges, scores = "default", None, None
    if space_first is not None:
        scores = _scores(content, tokens, folder)
        tokens, kinds = _as_sentencepiece(tokens, kinds)
    else:
        pre, merges = _pattern(content, folder), _merges(content)
    return TokenizerFields(
        model="gpt2" if space_first is None else "llama",
        pre=pre,
        tokens=tokens,
        kinds=kinds,
        merges=merges,
        scores=scores,
        space_first=bool(space_first),
        # Ours mark no start: documents follow each other, so the end of one starts the next.
        start_id=marked[0] if place else tokenizer.end_id,
        add_start=place > 0,
        add_end=place + len(plain) < len(marked),
        turn_end_id=Chat(tokenizer, template).turn_end_id if template else None,
    )


def _tokens(tokenizer: Tokenizer, rows: int) -> tuple[list[str], list[int]]:
    """Each row's token and its kind."""
    used = set(tokenizer.backend.get_vocab(with_added_tokens=True).values())
    kinds = [NORMAL if i in used else UNUSED for i in range(rows)]
    for i, added in tokenizer.backend.get_added_tokens_decoder().items():
        if i < rows:  # a Llama may have a <pad> that its embedding has no row for
            kinds[i] = CONTROL if added.special else USER_DEFINED
    return tokenizer.tokens(rows), kinds


def _as_sentencepiece(tokens: list[str], kinds: list[int]) -> tuple[list[str], list[int]]:
    """Bytes get their kind, a space its sign; where that is a token already, it loses its row."""
    bytes_ = set(BYTE_TOKENS)
    kinds = [BYTE if t in bytes_ else kind for t, kind in zip(tokens, kinds, strict=True)]
    if " " in tokens:
        if _SPACE in tokens:
            place = tokens.index(_SPACE)
            tokens[place], kinds[place] = f"[unused-{place}]", UNUSED
        tokens[tokens.index(" ")] = _SPACE
    return tokens, kinds


def _space_first(content: Mapping[str, Any]) -> bool | None:
    """Of what does as SentencePiece's BPE, whether a text gets a space before it; else None."""
    if not content["model"].get("byte_fallback"):
        return None
    normalizer, splits = content["normalizer"] or {}, content["pre_tokenizer"] or {}
    steps = normalizer.get("normalizers", [normalizer])
    if not content["model"]["merges"]:
        return False if normalizer.get("type") in (None, "NFC") else None
    if not splits and steps in ([_FIRST_SPACE, _SPACES], [_SPACES]):
        return _FIRST_SPACE in steps
    whole = splits.get("type") == "Metaspace" and not splits.get("split", True)
    if not normalizer and whole and splits["replacement"] == _SPACE:
        return bool(splits["prepend_scheme"] != "never")
    return None


def _scores(content: Mapping[str, Any], tokens: list[str], folder: Path) -> list[float]:
    """Of each token: the sooner it is joined, the higher."""
    joined = [token for token, _ in groupby("".join(_pair(p)) for p in content["model"]["merges"])]
    ranks = {token: rank for rank, token in enumerate(joined)}
    if len(ranks) < len(joined):
        raise _unknown("BPE that joins a token in several ways", folder)
    return [float(-ranks.get(token, len(ranks))) for token in tokens]


def _pair(merge: str | list[str]) -> list[str]:
    return merge.split(" ") if isinstance(merge, str) else merge


def _merges(content: Mapping[str, Any]) -> list[str]:
    return [" ".join(_pair(merge)) for merge in content["model"]["merges"]] or [_NO_MERGE]


def _pattern(content: Mapping[str, Any], folder: Path) -> str:
    """llama.cpp's name of how a text is split before its merges."""
    steps = content["pre_tokenizer"] or {"type": "none"}
    steps = steps["pretokenizers"] if steps["type"] == "Sequence" else [steps]
    *splits, last = steps
    if last["type"] != "ByteLevel" or last["add_prefix_space"]:
        raise _unknown("BPE that is not byte-level", folder)
    if not splits and (last["use_regex"] or not content["model"]["merges"]):
        return "gpt-2"
    if splits == [_DIGITS] and last["use_regex"]:
        return "smollm"
    if len(splits) == 1 and splits[0]["type"] == "Split" and not last["use_regex"]:
        name = _PATTERNS.get(splits[0]["pattern"].get("Regex", ""))
        if name is not None and splits[0]["behavior"] == "Isolated" and not splits[0]["invert"]:
            return name
    raise _unknown("BPE with a split pattern of its own", folder)


def _unknown(kind: str, folder: Path) -> InputError:
    return InputError(
        f"llama.cpp has no tokenizer like that of '{folder}' ({kind}). Train on a corpus made with "
        "--tokenizer bpe, byte or char, or export to ctranslate2 or onnx."
    )
