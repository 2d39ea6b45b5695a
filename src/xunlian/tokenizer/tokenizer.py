"""A tokenizer as the rest of Xunlian sees it: text to ids and back.

A thin frozen wrapper around `tokenizers.Tokenizer` that keeps three promises:

- no special token is ever made from text: a document that contains the letters `<|endoftext|>`
  is encoded as those letters, and cannot end itself;
- `decode(encode(text)) == text` for the kinds bpe, byte, char and unigram;
- a saved folder opens with `transformers.AutoTokenizer` and gives the same ids.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
import tokenizers

from xunlian.errors import InputError
from xunlian.files import write_json, write_text
from xunlian.tokenizer.fingerprint import fingerprint
from xunlian.tokenizer.patterns import END, UNKNOWN

# Names of the end-of-document token in other people's tokenizers.
_END_NAMES = (END, "<|end_of_text|>", "</s>", "<eos>", "<|eos|>", "<|im_end|>", "[SEP]", "[EOS]")


@dataclass(frozen=True)
class Tokenizer:
    """Text to token ids and back.

    Attributes:
        vocab_size: one more than the largest id.
        end_id: the id that ends a document.
        fingerprint: tells whether two tokenizers are the same (see fingerprint.py).
    """

    backend: tokenizers.Tokenizer
    vocab_size: int
    end_id: int
    fingerprint: str

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, without special tokens."""
        return self.backend.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without special tokens."""
        batch = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in batch]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; special tokens are left out."""
        return self.backend.decode([int(i) for i in ids], skip_special_tokens=True)

    @property
    def end_token(self) -> str:
        """The name of the token that ends a document."""
        return str(self.backend.id_to_token(self.end_id))

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json, which Transformers opens."""
        folder = Path(folder)
        write_text(folder / "tokenizer.json", self.backend.to_str(pretty=True))
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": self.end_token,
            "clean_up_tokenization_spaces": False,
        }
        if self.backend.token_to_id(UNKNOWN) is not None:
            config["unk_token"] = UNKNOWN
        write_json(folder / "tokenizer_config.json", config)


def wrap(backend: tokenizers.Tokenizer, end_token: str) -> Tokenizer:
    """A `Tokenizer` from one of the `tokenizers` library, whose document end is `end_token`."""
    backend.no_truncation()
    backend.no_padding()
    end_id = backend.token_to_id(end_token)
    assert end_id is not None
    # Text must not make special tokens. This is a setting of the object, not of the file.
    backend.encode_special_tokens = True
    size = max(backend.get_vocab(with_added_tokens=True).values()) + 1
    return Tokenizer(backend, size, end_id, fingerprint(backend.to_str()))


def load_tokenizer(path: Path | str) -> Tokenizer:
    """Open a tokenizer.json, or the folder it is in.

    Raises:
        InputError: missing, damaged, or without a token that could end a document.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "tokenizer.json"
    if not file.is_file():
        raise InputError(f"No tokenizer '{path}': name a tokenizer.json or the folder it is in.")
    try:
        backend = tokenizers.Tokenizer.from_str(file.read_text("utf-8"))
    except Exception as error:  # the library raises bare Exceptions
        raise InputError(f"'{file}' is damaged or no tokenizer.json ({error}).") from error
    for name in (_configured_end(file.parent), *_END_NAMES):
        if name is not None and backend.token_to_id(name) is not None:
            return wrap(backend, name)
    raise InputError(
        f"'{file}' has no token that ends a document. Give it one named {END}, or name its own as "
        "eos_token in a tokenizer_config.json beside it."
    )


def _configured_end(folder: Path) -> str | None:
    """The eos_token of a tokenizer_config.json in `folder`, if there is one."""
    try:
        token = orjson.loads((folder / "tokenizer_config.json").read_bytes()).get("eos_token")
    except (OSError, ValueError, AttributeError):
        return None
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None
