"""Much text to ids: the same as `Tokenizer.encode_batch`, several times as fast.

The `tokenizers` library goes through a text match by match and notes much about every token. Of
the tokenizers that `train.py` makes, and of others of their form (Qwen's), the ids follow from
arrays instead:

- `bpe`: words begin where words.py says and are cut at seams (seams.py); each is looked up
  (known_words.py), and the library encodes only those that are not known yet.
- `unigram`: likewise, but without seams: where two cuts of a word are equally probable, which one
  is taken may depend on the word's beginning.
- `byte`: one look at a table.

Any other tokenizer is left to the library.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain, groupby
from typing import Any

import numpy as np
import orjson
import tokenizers
from tokenizers import pre_tokenizers

from xunlian.tokenizer.known_words import KnownWords
from xunlian.tokenizer.patterns import BYTE_TOKENS, WORDS
from xunlian.tokenizer.seams import Seams
from xunlian.tokenizer.tokenizer import Tokenizer
from xunlian.tokenizer.words import BETWEEN, Kinds, word_starts

Encoded = tuple[np.ndarray, np.ndarray]
"""(The ids of all texts, (T,) int32; how many each text has, (N,) int64.)"""
BulkEncoder = Callable[[Sequence[str]], Encoded]

_BLOCK = 1 << 18  # characters at once: the arrays then stay in the processor's cache
_TO_LIBRARY = 20_000  # words at once; its results take about a kilobyte each
_BY_WORDS = {
    "type": "Split",
    "pattern": {"Regex": WORDS},
    "behavior": "Isolated",
    "invert": False,
}
_MOST_ADDED = 100  # tokens that are looked for in every text, one by one
_UNUSUAL = (
    "dropout",
    "unk_token",
    "continuing_subword_prefix",
    "end_of_word_suffix",
    "fuse_unk",
    "byte_fallback",
    "ignore_merges",
)


@lru_cache(2)
def bulk_encoder(tokenizer: Tokenizer) -> BulkEncoder:
    """A function: texts -> their ids, without special tokens; what it learned of words is kept.

    It raises UnicodeEncodeError for text with lone surrogates.
    """
    by_library = _library_encoder(tokenizer)
    content = orjson.loads(tokenizer.backend.to_str())
    encode = _fast_encoder(tokenizer.backend, content)
    if encode is None or content["normalizer"] not in (None, {"type": "NFC"}):
        return by_library
    added = [token["content"] for token in content["added_tokens"] if not token["special"]]
    if not content["normalizer"] and not added:
        return encode
    if len(added) > _MOST_ADDED:
        return by_library
    normalizer = tokenizer.backend.normalizer

    def encode_normalized(texts: Sequence[str]) -> Encoded:
        normal = [
            text if text.isascii() or normalizer is None else normalizer.normalize_str(text)
            for text in texts
        ]
        parts = []
        for special, group in groupby(
            zip(texts, normal, strict=True),
            lambda pair: any(token in text for text in pair for token in added),
        ):
            pairs = list(group)
            if special:
                parts.append(by_library([text for text, _ in pairs]))
            else:
                parts.append(encode([text for _, text in pairs]))
        return _joined(parts)

    return encode_normalized


def _library_encoder(tokenizer: Tokenizer) -> BulkEncoder:
    def encode(texts: Sequence[str]) -> Encoded:
        every = tokenizer.encode_batch(texts)
        counts = np.fromiter(map(len, every), np.int64, len(every))
        return np.fromiter(chain.from_iterable(every), np.int32, int(counts.sum())), counts

    return encode


def _fast_encoder(backend: tokenizers.Tokenizer, content: dict[str, Any]) -> BulkEncoder | None:
    """For a tokenizer of a known form, whatever its normalizer and its added tokens."""
    model, splitter = content["model"], content["pre_tokenizer"]
    steps = splitter["pretokenizers"] if _is(splitter, "Sequence") else [splitter]
    split = steps[0] == _BY_WORDS
    to_bytes = _is(steps[-1], "ByteLevel") and not (
        steps[-1]["add_prefix_space"] or steps[-1]["use_regex"]
    )
    if len(steps) != split + to_bytes:
        return None
    if model["type"] == "BPE" and to_bytes:
        tokens = _bytes_of_letters(model["vocab"])
        single = {token: number for number, token in tokens.items() if len(token) == 1}
        if len(single) < 256 or any(model.get(name) for name in _UNUSUAL):
            return None
        if split:
            return _word_encoder(backend, tokens, Seams(tokens.values()))
        return None if model["merges"] else _byte_encoder(single)
    if model["type"] == "Unigram" and split and not to_bytes and model["byte_fallback"]:
        pieces = [piece for piece, _ in model["vocab"]]
        single_bytes = {name: bytes([byte]) for byte, name in enumerate(BYTE_TOKENS)}
        if not single_bytes.keys() <= set(pieces):
            return None
        tokens = {i: single_bytes.get(piece, piece.encode()) for i, piece in enumerate(pieces)}
        return _word_encoder(backend, tokens, None)
    return None


def _is(part: Any, kind: str) -> bool:
    return isinstance(part, dict) and part["type"] == kind


def _byte_encoder(numbers: dict[bytes, int]) -> BulkEncoder:
    table = np.array([numbers[bytes([byte])] for byte in range(256)], np.int32)

    def encode(texts: Sequence[str]) -> Encoded:
        data = [text.encode() for text in texts]
        counts = np.fromiter(map(len, data), np.int64, len(data))
        return table[np.frombuffer(b"".join(data), np.uint8)], counts

    return encode


def _word_encoder(
    backend: tokenizers.Tokenizer, tokens: dict[int, bytes], seams: Seams | None
) -> BulkEncoder:
    """`tokens`: the bytes that each stands for; together they cover any text."""
    library = tokenizers.Tokenizer(backend.model)
    if seams:
        library.pre_tokenizer = pre_tokenizers.ByteLevel(False, use_regex=False)
    lengths = np.zeros(max(tokens) + 1, np.int64)
    lengths[list(tokens)] = list(map(len, tokens.values()))

    def encode_words(words: list[bytes]) -> Encoded:
        parts = []
        for first in range(0, len(words), _TO_LIBRARY):
            some = words[first : first + _TO_LIBRARY]
            [made] = library.encode_batch_fast(
                [[word.decode() for word in some]], is_pretokenized=True
            )
            ids = np.array(made.ids, np.int32)
            # A word ends with the token in which its last byte is.
            ends = np.searchsorted(np.cumsum(lengths[ids]), np.cumsum([*map(len, some)])) + 1
            parts.append((ids, np.diff(ends, prepend=0)))
        return _joined(parts)

    kinds, known = Kinds(), KnownWords(encode_words)

    def encode_block(texts: Sequence[str]) -> Encoded:
        data, firsts, sizes, limits = _cut(texts, kinds, seams)
        ids, bounds = known.ids(data, firsts, sizes)
        return ids, np.diff(bounds[limits])

    return lambda texts: _joined([encode_block(block) for block in _blocks(texts)])


def _cut(
    texts: Sequence[str], kinds: Kinds, seams: Seams | None
) -> tuple[bytes, np.ndarray, np.ndarray, np.ndarray]:
    """Texts in words: (all in UTF-8; (W,) where each word begins there; (W,) its bytes; (N + 1,)
    the number of each text's first word, and of all words)."""
    joined = "\0" + "\0".join(texts) + "\0"
    data = joined.encode()
    ascii_only = len(data) == len(joined)
    if ascii_only:
        codes = np.frombuffer(data, np.uint8)
    else:
        codes = np.frombuffer(joined.encode("utf-32-le"), np.uint32)
    borders = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) + 1 for text in texts], out=borders[1:])
    what = kinds.of(codes)
    what[borders] = BETWEEN
    starts = word_starts(codes, what)
    if seams and not ascii_only:
        foreign = codes >= 0x80
        places = np.flatnonzero(~starts[1:] & (foreign[1:] | foreign[:-1]))
        starts[1:][places[seams.between(codes[places], codes[places + 1])]] = True
    places = np.flatnonzero(starts)
    is_text = what[places[:-1]] != BETWEEN
    bounds = places
    if not ascii_only:
        bounds = np.flatnonzero((np.frombuffer(data, np.uint8) & 0xC0) != 0x80)[places]
    limits = np.searchsorted(places[:-1][is_text], borders)
    return data, bounds[:-1][is_text], np.diff(bounds)[is_text], limits


def _blocks(texts: Sequence[str]) -> list[Sequence[str]]:
    blocks, first, size = [], 0, 0
    for i, text in enumerate(texts):
        if size and size + len(text) > _BLOCK:
            blocks.append(texts[first:i])
            first, size = i, 0
        size += len(text)
    return [*blocks, texts[first:]] if texts else []


def _joined(parts: list[Encoded]) -> Encoded:
    empty = np.zeros(0, np.int32), np.zeros(0, np.int64)
    ids, counts = zip(empty, *parts, strict=True)
    return np.concatenate(ids), np.concatenate(counts)


def _bytes_of_letters(vocab: dict[str, int]) -> dict[int, bytes]:
    """What each token of byte-level BPE stands for, by its number; without those that it cannot
    make. A byte is written as a letter (GPT-2): visible Latin-1 as itself, the others in their
    order as those from U+0100 on."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in visible]
    table = {byte: byte for byte in visible} | {0x100 + i: byte for i, byte in enumerate(others)}
    letters = set(map(chr, table))
    return {
        number: token.translate(table).encode("latin-1")
        for token, number in vocab.items()
        if letters.issuperset(token)
    }
