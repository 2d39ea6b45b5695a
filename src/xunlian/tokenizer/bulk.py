"""Much text to ids: what `Tokenizer.encode_batch` gives, several times as fast.

The `tokenizers` library goes through a text match by match and keeps much about every token. Where
a tokenizer is byte-level BPE of the form that `train.py` makes, the same ids follow from arrays:

- words begin where words.py says, and are cut at seams (seams.py);
- a word of up to 15 bytes is, with its length, a number of 128 bits, so that words are compared as
  numbers, all at once, in a table with one place for each hash;
- the library encodes only the words that are not known yet; what is known is bounded.

Any other tokenizer is left to the library.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain

import numpy as np
import orjson
import tokenizers
from tokenizers import pre_tokenizers

from xunlian.tokenizer.patterns import WORDS
from xunlian.tokenizer.seams import Seams
from xunlian.tokenizer.tokenizer import Tokenizer
from xunlian.tokenizer.words import BETWEEN, Kinds, word_starts

BulkEncoder = Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]]
"""Texts -> (ids of all, (T,) int32; how many each text has, (N,) int64), no special tokens."""

_BLOCK = 1 << 18  # characters at once: the arrays then stay in the processor's cache
_SHORT = 15  # bytes of a word that fit into a key beside its length
_PLACES = 18  # bits: places of the table of short words (5 MB)
_WORDS = 1 << 18  # known at most, and the words of one block
_TO_LIBRARY = 20_000  # words at once; its results take about a kilobyte each
_MASKS = np.array([(1 << 8 * size) - 1 for size in range(9)], np.uint64)
_FACTORS = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)  # odd


@lru_cache(2)
def bulk_encoder(tokenizer: Tokenizer) -> BulkEncoder:
    """The fastest way to encode much text. It is kept, with the words it knows, for the next call.

    The encoder raises UnicodeEncodeError for text with lone surrogates.
    """
    content = orjson.loads(tokenizer.backend.to_str())
    if _is_known(content):
        return _Words(tokenizer.backend, content["model"])

    def by_library(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        every = tokenizer.encode_batch(texts)
        counts = np.fromiter(map(len, every), np.int64, len(every))
        return np.fromiter(chain.from_iterable(every), np.int32, int(counts.sum())), counts

    return by_library


def _is_known(content: dict) -> bool:
    """Whether a tokenizer.json is byte-level BPE that splits text by `WORDS`, and nothing more."""
    model = content["model"]
    splitter = content["pre_tokenizer"] or {}
    split, to_bytes = splitter.get("pretokenizers", [None, None])[:2]
    return (
        content["normalizer"] is None
        and all(token["special"] for token in content["added_tokens"])
        and model["type"] == "BPE"
        and not any(model.get(name) for name in _UNUSUAL)
        and len(splitter.get("pretokenizers", ())) == 2
        and split["type"] == "Split"
        and split["pattern"] == {"Regex": WORDS}
        and split["behavior"] == "Isolated"
        and not split["invert"]
        and to_bytes["type"] == "ByteLevel"
        and not to_bytes["add_prefix_space"]
        and not to_bytes["use_regex"]
        and model["vocab"].keys() >= {*pre_tokenizers.ByteLevel.alphabet()}
    )


_UNUSUAL = (
    "dropout",
    "unk_token",
    "continuing_subword_prefix",
    "end_of_word_suffix",
    "fuse_unk",
    "byte_fallback",
    "ignore_merges",
)


class _Numbers(dict[bytes, int]):
    """The numbers of words; a new word gets the next one and is put into `new`."""

    def __init__(self) -> None:
        self.new: list[bytes] = []

    def __missing__(self, word: bytes) -> int:
        self.new.append(word)
        self[word] = number = len(self)
        return number


class _Words:
    """A `BulkEncoder` that knows words."""

    def __init__(self, backend: tokenizers.Tokenizer, model: dict) -> None:
        self._kinds = Kinds()
        tokens = _bytes_of(model["vocab"])
        self._seams = Seams(tokens.values())
        self._token_bytes = np.zeros(max(model["vocab"].values()) + 1, np.int64)
        self._token_bytes[list(tokens)] = list(map(len, tokens.values()))
        self._library = tokenizers.Tokenizer(backend.model)
        self._library.pre_tokenizer = pre_tokenizers.ByteLevel(False, use_regex=False)
        self._forget()

    def __call__(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        done = [self._encode(block) for block in _blocks(texts)]
        if not done:
            return np.zeros(0, np.int32), np.zeros(0, np.int64)
        ids, counts = zip(*done, strict=True)
        return np.concatenate(ids), np.concatenate(counts)

    def _forget(self) -> None:
        self._numbers = _Numbers()
        self._ids = np.zeros(0, np.int32)  # of all known words
        self._sizes = np.zeros(0, np.int32)  # how many each word has
        self._ends = np.zeros(0, np.int64)  # where they end
        places = 1 << _PLACES
        self._low, self._high = np.zeros(places, np.uint64), np.zeros(places, np.uint64)
        self._number = np.zeros(places, np.int32)

    def _encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        data, firsts, sizes, limits = self._cut(texts)
        numbers = self._lookup(data, firsts, sizes)
        sizes = self._sizes[numbers]
        ends = np.cumsum(sizes, dtype=np.int64)
        shift = self._ends[numbers] - ends  # from the place of an id here to that among the known
        ids = self._ids[np.repeat(shift, sizes) + np.arange(ends[-1] if len(ends) else 0)]
        totals = np.concatenate(([0], ends))[limits]
        return ids, np.diff(totals)

    def _cut(self, texts: Sequence[str]) -> tuple[bytes, np.ndarray, np.ndarray, np.ndarray]:
        """(all texts in UTF-8; where each word begins there, its bytes; (N + 1,) the number of the
        first word of each text)."""
        joined = "\0" + "\0".join(texts) + "\0"
        data = joined.encode()
        if len(data) == len(joined):
            codes = np.frombuffer(data, np.uint8)
        else:
            codes = np.frombuffer(joined.encode("utf-32-le"), np.uint32)
        borders = np.zeros(len(texts) + 1, np.int64)
        np.cumsum([len(text) + 1 for text in texts], out=borders[1:])
        kinds = self._kinds.of(codes)
        kinds[borders] = BETWEEN
        starts = word_starts(codes, kinds)
        if len(data) > len(joined):
            foreign = codes >= 0x80
            perhaps = np.flatnonzero(~starts[1:] & (foreign[1:] | foreign[:-1]))
            seams = self._seams.between(codes[perhaps], codes[perhaps + 1])
            starts[perhaps[seams] + 1] = True
        places = np.flatnonzero(starts)
        bounds = places
        if len(data) > len(joined):
            raw = np.frombuffer(data, np.uint8)
            bounds = np.flatnonzero((raw & 0xC0) != 0x80)[places]
        inside = kinds[places[:-1]] != BETWEEN
        limits = np.searchsorted(places[:-1][inside], borders)
        return data, bounds[:-1][inside], np.diff(bounds)[inside], limits

    def _lookup(self, data: bytes, firsts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """(W,) the numbers of the words."""
        low, high = _keys(data, firsts, sizes)
        places = (low * _FACTORS[0] + high * _FACTORS[1]) >> np.uint64(64 - _PLACES)
        numbers = self._number[places]
        unknown = np.flatnonzero((self._low[places] != low) | (self._high[places] != high))
        if not len(unknown):
            return numbers
        if len(self._numbers) > _WORDS:
            self._forget()
            unknown = np.arange(len(firsts))
        spans = zip(firsts[unknown].tolist(), sizes[unknown].tolist(), strict=True)
        words = [data[first : first + size] for first, size in spans]
        found = np.fromiter(map(self._numbers.__getitem__, words), np.int32, len(words))
        self._learn()
        numbers[unknown] = found
        short = sizes[unknown] <= _SHORT
        kept, places = unknown[short], places[unknown[short]]
        self._low[places], self._high[places] = low[kept], high[kept]
        self._number[places] = found[short]
        return numbers

    def _learn(self) -> None:
        """Let the library encode the words that were not known."""
        new = self._numbers.new
        self._numbers.new = []
        for first in range(0, len(new), _TO_LIBRARY):
            words = new[first : first + _TO_LIBRARY]
            made = self._library.encode_batch_fast(
                [[word.decode() for word in words]], is_pretokenized=True
            )[0]
            ids = np.array(made.ids, np.int32)
            # Tokens cover all bytes, so a word ends with the token in which its last byte is.
            bytes_done = np.cumsum([len(word) for word in words])
            ends = np.searchsorted(np.cumsum(self._token_bytes[ids]), bytes_done) + 1
            self._ends = np.concatenate((self._ends, len(self._ids) + ends))
            self._sizes = np.concatenate((self._sizes, np.diff(ends, prepend=0).astype(np.int32)))
            self._ids = np.concatenate((self._ids, ids))


def _keys(data: bytes, firsts: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of each word and its length as two numbers, (W,) uint64 each; of a word that is too
    long, what no other word has."""
    padded = data + bytes(16)
    windows = np.ndarray((len(data),), "V16", padded, strides=(1,))
    low, high = windows[firsts].view("<u8").reshape(-1, 2).T
    lengths = np.minimum(sizes, _SHORT + 1)
    low = low & _MASKS[np.minimum(lengths, 8)]
    high = high & _MASKS[np.clip(lengths - 8, 0, 7)]
    return low, high | (lengths.astype(np.uint64) << np.uint64(56))


def _blocks(texts: Sequence[str]) -> list[Sequence[str]]:
    blocks, first, size = [], 0, 0
    for i, text in enumerate(texts):
        if size and size + len(text) > _BLOCK:
            blocks.append(texts[first:i])
            first, size = i, 0
        size += len(text)
    if first < len(texts):
        blocks.append(texts[first:])
    return blocks


def _bytes_of(vocab: dict[str, int]) -> dict[int, bytes]:
    """The bytes that each token stands for; without those that byte-level BPE cannot make."""
    table = _byte_of_letter()
    letters = {chr(code) for code in table}
    return {
        number: token.translate(table).encode("latin-1")
        for token, number in vocab.items()
        if letters.issuperset(token)
    }


def _byte_of_letter() -> dict[int, int]:
    """The letters that stand for bytes (GPT-2): visible Latin-1 for itself, from U+0100 on for
    the others, in their order."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in visible]
    return {byte: byte for byte in visible} | {0x100 + i: byte for i, byte in enumerate(others)}
