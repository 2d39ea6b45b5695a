"""A unigram (SentencePiece) tokenizer, learned deterministically.

- Text is kept as it is: spaces and line ends are part of the pieces, a character outside the
  vocabulary is written as its bytes, so decoding gives back exactly the text.
- The trainer of the `tokenizers` library starts from a hash table and adds floats in several
  threads: two runs differ. This one counts whole numbers. Method (Kudo 2018,
  https://arxiv.org/abs/1804.10959, with the best segmentation in place of all of them): take the
  frequent substrings of the words, segment all words with the most probable pieces, set each
  piece's probability to its share, drop the pieces that would be missed least; repeat.
"""

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers

from xunlian.tokenizer.patterns import BYTE_TOKENS, END, UNKNOWN, WINDOW, WORDS
from xunlian.tokenizer.sizes import frequent

_LONGEST = 16  # characters of a piece, as in SentencePiece
_MOST_WORDS = 400_000  # distinct words to learn from; rarer ones change nothing
_SEEDS = 4  # first pieces for each final one
_SHRINK = 0.7  # pieces kept by each pruning
_ABSENT = -20.0  # log probability of a piece that no segmentation used


def train_unigram(texts: Iterator[str], vocab_size: int) -> tokenizers.Tokenizer:
    """A unigram tokenizer of at most `vocab_size` tokens, 256 of them bytes."""
    plain = pre_tokenizers.Split(Regex(WORDS), "isolated")
    windows = pre_tokenizers.Sequence([plain, pre_tokenizers.Split(Regex(WINDOW), "isolated")])
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word for word, _ in windows.pre_tokenize_str(text))
    words = {word: counts[word] for word in frequent(counts, _MOST_WORDS)}

    room = vocab_size - 2 - len(BYTE_TOKENS)
    letters: Counter[str] = Counter()
    for word, count in words.items():
        for letter in word:
            letters[letter] += count
    # 0.9995 as in SentencePiece: rarer characters are written in bytes.
    alphabet = set(frequent(letters, max(1, room * 3 // 4), coverage=0.9995))
    words = {word: count for word, count in words.items() if alphabet.issuperset(word)}
    pieces = _learn(words, alphabet, _seeds(words, alphabet, room * _SEEDS), room)

    lowest = min(pieces.values(), default=0.0)
    ordered = sorted(pieces.items(), key=lambda item: (-item[1], item[0]))
    # Bytes lose against any piece; `WORDS` keeps text that looks like '<0x41>' from meeting them.
    vocab = [(END, 0.0), (UNKNOWN, 0.0), *ordered, *((b, lowest - 10) for b in BYTE_TOKENS)]
    backend = tokenizers.Tokenizer(models.Unigram(vocab, unk_id=1, byte_fallback=True))
    backend.pre_tokenizer = plain
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens([UNKNOWN])
    return backend


def _seeds(words: dict[str, int], alphabet: set[str], most: int) -> Counter[str]:
    """Counts of the substrings worth starting from, by count times length.

    Substrings grow by one character a round, and only where the shorter one was frequent
    (apriori), so that memory stays small.
    """
    found: Counter[str] = Counter()
    places = [(word, count, list(range(len(word)))) for word, count in words.items()]
    for length in range(2, _LONGEST + 1):
        counts: Counter[str] = Counter()
        for word, count, starts in places:
            for i in starts:
                if i + length <= len(word):
                    counts[word[i : i + length]] += count
        kept = {piece for piece, count in counts.items() if count > 1}
        found.update({piece: counts[piece] for piece in kept})
        places = [
            (word, count, starts)
            for word, count, before in places
            if (starts := [i for i in before if word[i : i + length] in kept])
        ]
        if len(found) > 4 * most:
            found = _best(found, 2 * most)
    return _best(found, most)


def _best(counts: Counter[str], most: int) -> Counter[str]:
    ranked = sorted(counts.items(), key=lambda item: (-item[1] * len(item[0]), item[0]))
    return Counter(dict(ranked[:most]))


def _learn(
    words: dict[str, int], alphabet: set[str], seeds: Counter[str], room: int
) -> dict[str, float]:
    """At most `room` pieces with their log probabilities; every character of the alphabet stays."""
    texts = sorted(words)
    weights = np.array([words[text] for text in texts], dtype=np.int64)
    letters: Counter[str] = Counter()
    for word, count in words.items():
        for letter in word:
            letters[letter] += count
    pieces = _log_shares({**{a: letters[a] for a in sorted(alphabet)}, **seeds})
    while True:
        for _ in range(2):
            used = _count_uses(pieces, texts, weights)
            pieces = _log_shares(used)
        if len(pieces) <= room:
            return pieces
        keep = max(room, round(len(pieces) * _SHRINK))
        missed = {
            piece: used[piece] * (score - _without(piece, pieces))
            for piece, score in pieces.items()
            if piece not in alphabet
        }
        ranked = sorted(missed, key=lambda piece: (-missed[piece], piece))
        stay = alphabet.union(ranked[: keep - len(alphabet)])
        pieces = {piece: score for piece, score in pieces.items() if piece in stay}


def _log_shares(counts: dict[str, int]) -> dict[str, float]:
    total = max(1, sum(counts.values()))
    # Rounded, so that the last bit of a machine's logarithm does not show.
    return {
        piece: round(math.log(count / total), 6) if count else _ABSENT
        for piece, count in counts.items()
    }


def _count_uses(pieces: dict[str, float], texts: list[str], weights: np.ndarray) -> dict[str, int]:
    """How often each piece occurs in the most probable segmentation of all words."""
    names = list(pieces)
    model = models.Unigram([(UNKNOWN, 0.0), *pieces.items()], unk_id=0, byte_fallback=False)
    segmenter = tokenizers.Tokenizer(model)
    uses = np.zeros(len(names) + 1, dtype=np.int64)
    step = 20_000  # words; the library's results take about a kilobyte each
    for first in range(0, len(texts), step):
        batch = segmenter.encode_batch_fast(texts[first : first + step])
        ids = [encoding.ids for encoding in batch]
        lengths = [len(i) for i in ids]
        flat = np.fromiter((i for word in ids for i in word), dtype=np.int64, count=sum(lengths))
        np.add.at(uses, flat, np.repeat(weights[first : first + step], lengths))
    return {name: int(count) for name, count in zip(names, uses[1:], strict=True)}


def _without(piece: str, pieces: dict[str, float]) -> float:
    """Log probability of the best segmentation of `piece` into other pieces."""
    best = [0.0] + [-math.inf] * len(piece)
    for end in range(1, len(piece) + 1):
        for start in range(end):
            if end - start < len(piece):
                score = pieces.get(piece[start:end])
                if score is not None and best[start] + score > best[end]:
                    best[end] = best[start] + score
    return best[-1]
