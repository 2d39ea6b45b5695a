"""WordPiece as BERT uses it, learned deterministically.

- Words are runs between spaces and punctuation; a Han or Kana character is a word of its own, and
  so is a line break. Spaces are not kept: decoding puts one space between words, none between
  Chinese characters or before punctuation. Of all kinds this is the only one that loses text.
- The library's own trainer numbers the `##` letters in the order of a hash table, so two runs
  differ. Here a letter inside a word is written as a private character, plain BPE (whose trainer
  sorts its letters) learns on that, and the private characters are turned back into `##` pieces.
"""

from collections import Counter
from collections.abc import Iterator

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

from xunlian.tokenizer.patterns import CHARACTER, END, UNKNOWN
from xunlian.tokenizer.sizes import frequent

_PRIVATE = 0xF0000  # the first code point of the private plane 15
_NEWLINE = "\n"
_LONGEST = 64  # letters of a word worth learning from
_CJK = r"[\p{Han}\p{Hiragana}\p{Katakana}，。、；：？！“”‘’（）《》…]"


def train_wordpiece(texts: Iterator[str], vocab_size: int) -> tokenizers.Tokenizer:
    """A WordPiece tokenizer of at most `vocab_size` tokens."""
    splitter = _splitter()
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in splitter.pre_tokenize_str(text))
    words.pop(_NEWLINE, None)

    letters: Counter[str] = Counter()  # 'a' begins a word, '##a' does not
    for word, count in words.items():
        letters[word[0]] += count
        for letter in word[1:]:
            letters["##" + letter] += count
    specials = [END, UNKNOWN, _NEWLINE]
    room = vocab_size - len(specials)
    alphabet = sorted(frequent(letters, room, coverage=0.9999))
    pieces = alphabet + _merges(words, alphabet, room)
    backend = tokenizers.Tokenizer(
        models.WordPiece(
            vocab={token: i for i, token in enumerate((specials + pieces)[:vocab_size])},
            unk_token=UNKNOWN,
        )
    )
    backend.pre_tokenizer = splitter
    backend.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="##", cleanup=False),
            decoders.Fuse(),
            decoders.Replace(Regex(r" ?\n ?"), "\n"),
            decoders.Replace(Regex(rf"(?<={_CJK}) (?={_CJK})"), ""),
            decoders.Replace(Regex(r" (?=[.,;:!?)\]}%，。、；：？！”’）》])"), ""),
        ]
    )
    backend.add_special_tokens([UNKNOWN])
    return backend


def _splitter() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[^\S\n]+"), "removed"),
            pre_tokenizers.Split(_NEWLINE, "isolated"),
            pre_tokenizers.Split(Regex(CHARACTER), "isolated"),
            pre_tokenizers.Punctuation("isolated"),
        ]
    )


def _merges(words: Counter[str], alphabet: list[str], room: int) -> list[str]:
    """The pieces longer than a letter, in the order in which BPE learned them."""
    code = {
        letter: chr(_PRIVATE + i) if letter.startswith("##") and len(letter) > 2 else letter
        for i, letter in enumerate(alphabet)
    }
    letter_of = {c: letter[2:] for letter, c in code.items() if c != letter}

    coded: list[tuple[str, int]] = []
    for word, count in words.items():
        keys = [word[0], *("##" + letter for letter in word[1:])]
        if 1 < len(keys) <= _LONGEST and all(key in code for key in keys):
            coded.append(("".join(code[key] for key in keys), count))
    # The trainer puts the letters it meets into its own vocabulary; they must not eat the room.
    met = set().union(*(line for line, _ in coded))
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=room - len(alphabet) + len(met), min_frequency=2, show_progress=False
    )
    backend.train_from_iterator(_repeated(coded), trainer)
    learned = sorted(backend.get_vocab().items(), key=lambda item: item[1])
    pieces = []
    for token, _ in learned:
        if len(token) > 1:
            text = "".join(letter_of.get(c, c) for c in token)
            pieces.append("##" + text if token[0] in letter_of else text)
    return pieces


def _repeated(counted: list[tuple[str, int]]) -> Iterator[str]:
    """The trainer has no other way to hear of counts than to meet a word as often."""
    for line, count in counted:
        for first in range(0, count, 1000):
            yield " ".join([line] * min(1000, count - first))
