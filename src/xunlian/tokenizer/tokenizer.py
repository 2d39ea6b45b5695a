"""A tokenizer as the rest of Xunlian sees it: text to ids and back.

A thin frozen wrapper around `tokenizers.Tokenizer` that keeps three promises:

- no special token is ever made from text: a document that contains the letters `<|endoftext|>`
  is encoded as those letters, and cannot end itself;
- `decode(encode(text)) == text` for the kinds bpe, byte, char and unigram;
- a saved folder opens with `transformers.AutoTokenizer` and gives the same ids.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import tokenizers
from tokenizers import processors

from xunlian.errors import InputError
from xunlian.files import write_json, write_text
from xunlian.tokenizer.fingerprint import fingerprint
from xunlian.tokenizer.patterns import END, PAD, UNKNOWN

# Names of the end-of-document token in other people's tokenizers.
_END_NAMES = (END, "<|end_of_text|>", "</s>", "<eos>", "<|eos|>", "<|im_end|>", "[SEP]", "[EOS]")

_PAD_NAMES = (PAD, "<|pad|>", "[PAD]", "<PAD>", "<|padding|>")


@dataclass(frozen=True)
class Tokenizer:
    """Text to token ids and back.

    Attributes:
        vocab_size: one more than the largest id.
        end_id: the id that ends a document.
        fingerprint: tells whether two tokenizers are the same (see fingerprint.py).
        pad_id: the id that fills and starts sequences of an encoder-decoder, if there is one.
    """

    backend: tokenizers.Tokenizer = field(compare=False)
    vocab_size: int
    end_id: int
    fingerprint: str
    pad_id: int | None = None

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
        if self.pad_id is not None:
            config["pad_token"] = str(self.backend.id_to_token(self.pad_id))
            config.setdefault("unk_token", config["pad_token"])  # CTranslate2 cannot do without
        write_json(folder / "tokenizer_config.json", config)


def wrap(backend: tokenizers.Tokenizer, end_token: str, pad_token: str | None = None) -> Tokenizer:
    """A `Tokenizer` from one of the `tokenizers` library, with its document end and padding."""
    backend.no_truncation()
    backend.no_padding()
    end_id = backend.token_to_id(end_token)
    assert end_id is not None
    # Text must not make special tokens. This is a setting of the object, not of the file.
    backend.encode_special_tokens = True
    size = max(backend.get_vocab(with_added_tokens=True).values()) + 1
    pad_id = None if pad_token is None else backend.token_to_id(pad_token)
    return Tokenizer(backend, size, end_id, fingerprint(backend.to_str()), pad_id)


def with_end_template(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer whose file says that a sequence ends with the end token, and nothing else.

    For pairs: Transformers then makes of a text the ids that the model was trained on. Our own
    `encode` adds no special tokens with or without it.
    """
    backend = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
    end = tokenizer.end_token
    backend.post_processor = processors.TemplateProcessing(
        single=["$A", end], pair=["$A", end, "$B", end], special_tokens=[(end, tokenizer.end_id)]
    )
    pad = tokenizer.pad_id
    return wrap(backend, end, None if pad is None else backend.id_to_token(pad))


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
    for name in (_configured("eos_token", file.parent), *_END_NAMES):
        if name is not None and backend.token_to_id(name) is not None:
            return wrap(backend, name, _pad_token(backend, file.parent))
    raise InputError(
        f"'{file}' has no token that ends a document. Give it one named {END}, or name its own as "
        "eos_token in a tokenizer_config.json beside it."
    )


def _pad_token(backend: tokenizers.Tokenizer, folder: Path) -> str | None:
    configured = _configured("pad_token", folder)
    if configured is not None and backend.token_to_id(configured) is not None:
        return configured
    # A learned piece may read '<pad>' too; only a special token means it.
    special = {
        token.content for token in backend.get_added_tokens_decoder().values() if token.special
    }
    return next((name for name in _PAD_NAMES if name in special), None)


def _configured(key: str, folder: Path) -> str | None:
    """A special token's name in a tokenizer_config.json in `folder`, if there is one."""
    try:
        token = orjson.loads((folder / "tokenizer_config.json").read_bytes()).get(key)
    except (OSError, ValueError, AttributeError):
        return None
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None
