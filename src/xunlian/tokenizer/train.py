"""Learn a tokenizer from text, deterministically: the same text gives the same tokenizer.json.

The kinds, all ending documents with the same special token:

- `bpe`: byte-level BPE (Sennrich et al. 2016, https://arxiv.org/abs/1508.07909; bytes as in
  GPT-2). Exact for any text. The default.
- `unigram`: SentencePiece's model (Kudo 2018, https://arxiv.org/abs/1804.10959), in unigram.py.
- `wordpiece`: BERT's; it forgets how many spaces there were, in wordpiece.py.
- `byte`: the 256 bytes.
- `char`: the characters of the text; any other character is written as its bytes.
"""

from collections import Counter
from collections.abc import Iterator
from typing import get_args

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

from xunlian.errors import InputError, did_you_mean
from xunlian.tokenizer.patterns import BYTE_TOKENS, END, PAD, WINDOW, WORDS
from xunlian.tokenizer.sizes import Kind, frequent
from xunlian.tokenizer.tokenizer import Tokenizer, with_end_template, wrap
from xunlian.tokenizer.unigram import train_unigram
from xunlian.tokenizer.wordpiece import train_wordpiece

KINDS: tuple[str, ...] = get_args(Kind)

# What the vocabulary must hold before anything can be learned.
_SMALLEST = {"bpe": 258, "unigram": 272, "wordpiece": 16, "byte": 257, "char": 258}


def train_tokenizer(
    texts: Iterator[str], kind: str, vocab_size: int, shrink: bool = False, pad: bool = False
) -> Tokenizer:
    """Learn a tokenizer of `vocab_size` tokens, special ones included.

    Args:
        texts: pieces of text, in a fixed order; each should be well under a megabyte.
        kind: one of KINDS.
        vocab_size: the size asked for.
        shrink: accept a smaller vocabulary when the text does not support this size.
        pad: add the token PAD, as the last one, and end sequences as `with_end_template` does.

    Raises:
        InputError: unknown kind, or a size that is too small for the kind or (unless `shrink`)
            too large for the text.
    """
    if kind not in KINDS:
        raise InputError(
            f"Unknown tokenizer '{kind}'.{did_you_mean(kind, KINDS)} There are {', '.join(KINDS)}, "
            "or the path of a run, a model folder or a tokenizer.json."
        )
    room = vocab_size - pad
    if room < _SMALLEST[kind]:
        raise InputError(
            f"tokenizer.vocab_size = {vocab_size} is too small: kind '{kind}' needs at least "
            f"{_SMALLEST[kind] + pad}."
        )
    match kind:
        case "bpe":
            backend = _train_bpe(texts, room)
        case "unigram":
            backend = train_unigram(texts, room)
        case "wordpiece":
            backend = train_wordpiece(texts, room)
        case "byte":
            backend = _bytes()
        case "char":
            backend = _train_char(texts, room)
    backend.add_special_tokens([END, PAD] if pad else [END])
    learned = backend.get_vocab_size()
    if learned < vocab_size and not shrink:
        raise InputError(
            f"tokenizer.vocab_size = {vocab_size} is more than this text supports with kind "
            f"'{kind}': at most {learned}. Choose a smaller one, or leave it out."
        )
    return with_end_template(wrap(backend, END, PAD)) if pad else wrap(backend, END)


def _train_bpe(texts: Iterator[str], vocab_size: int) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE())
    words = pre_tokenizers.Split(Regex(WORDS), "isolated")
    windows = pre_tokenizers.Split(Regex(WINDOW), "isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([words, windows, to_bytes])
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        # A pair seen once teaches nothing: it would only store the text as tokens.
        min_frequency=2,
        # Rows of dashes and the like need no tokens of their own at every length.
        max_token_length=32,
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    backend.pre_tokenizer = pre_tokenizers.Sequence([words, to_bytes])
    backend.decoder = decoders.ByteLevel()
    return backend


def _bytes() -> tokenizers.Tokenizer:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {END: 0} | {letter: i + 1 for i, letter in enumerate(letters)}
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def _train_char(texts: Iterator[str], vocab_size: int) -> tokenizers.Tokenizer:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    characters = sorted(frequent(counts, vocab_size - 1 - len(BYTE_TOKENS)))
    vocab = {token: i for i, token in enumerate((END, *characters, *BYTE_TOKENS))}
    # BPE without merges is a character tokenizer, with bytes for the characters it lacks.
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[], byte_fallback=True))
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return backend
