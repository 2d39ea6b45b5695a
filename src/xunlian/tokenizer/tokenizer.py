"""A tokenizer as the rest of Xunlian sees it: text to ids and back.

A thin frozen wrapper around `tokenizers.Tokenizer` that keeps three promises:

- no special token is ever made from text: a document that contains the letters `<|endoftext|>`
  is encoded as those letters, and cannot end itself;
- `decode(encode(text)) == text` for the kinds bpe, byte, char and unigram;
- a saved folder opens with `transformers.AutoTokenizer` and gives the same ids. What a folder of
  other people's says beside (further special tokens, the chat template) is saved again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

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

# Fields of tokenizer_config.json that name special tokens; those of the end and padding are ours.
_KEPT = (
    "bos_token",
    "unk_token",
    "sep_token",
    "cls_token",
    "mask_token",
    "additional_special_tokens",
    "extra_special_tokens",
)
TEMPLATE_FILE = "chat_template.jinja"


@dataclass(frozen=True)
class Tokenizer:
    """Text to token ids and back.

    Attributes:
        vocab_size: one more than the largest id.
        end_id: the id that ends a document.
        fingerprint: tells whether two tokenizers are the same (see fingerprint.py).
        pad_id: the id that fills and starts sequences of an encoder-decoder, if there is one.
        names: further fields of tokenizer_config.json that name special tokens.
        chat_template: its Jinja, if there is one.
    """

    backend: tokenizers.Tokenizer = field(compare=False)
    vocab_size: int
    end_id: int
    fingerprint: str
    pad_id: int | None = None
    names: Mapping[str, Any] = field(default_factory=dict, compare=False)
    chat_template: str | None = None

    @property
    def text_size(self) -> int:
        """One more than the largest id that a text can have: special tokens may have larger ones.

        Some BARTs have no row for their tokenizer's <mask>, the last token.
        """
        special = {
            i for i, token in self.backend.get_added_tokens_decoder().items() if token.special
        }
        ids = set(self.backend.get_vocab(with_added_tokens=True).values())
        return max(ids - special) + 1

    @property
    def start_ids(self) -> list[int]:
        """What the tokenizer's file puts before a text, such as Llama's <|begin_of_text|>."""
        added = self.backend.encode("", add_special_tokens=True).ids
        return list(takewhile(lambda token: token != self.end_id, added))

    @property
    def before_id(self) -> int:
        """The id that stands before the first of a document."""
        return (self.start_ids or [self.end_id])[-1]

    def encode_prompt(self, text: str) -> list[int]:
        """The ids of `text` for a model that goes on with it, after `start_ids`; never empty."""
        return [*self.start_ids, *self.encode(text)] or [self.end_id]

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

    def tokens(self, rows: int) -> list[str]:
        """The token of each id below `rows`; ids without one get names that no text contains."""
        found = [f"[unused-{i}]" for i in range(rows)]
        for token, i in self.backend.get_vocab(with_added_tokens=True).items():
            if i < rows:
                found[i] = token
        return found

    @property
    def end_token(self) -> str:
        """The name of the token that ends a document."""
        return str(self.backend.id_to_token(self.end_id))

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json, which Transformers opens."""
        folder = Path(folder)
        write_text(folder / "tokenizer.json", self.backend.to_str(pretty=True))
        config: dict[str, Any] = {
            **self.names,
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": self.end_token,
            "clean_up_tokenization_spaces": False,
        }
        if self.backend.token_to_id(UNKNOWN) is not None:
            config.setdefault("unk_token", UNKNOWN)
        if self.pad_id is not None:
            config["pad_token"] = str(self.backend.id_to_token(self.pad_id))
            config.setdefault("unk_token", config["pad_token"])  # CTranslate2 cannot do without
        if self.chat_template is not None:
            config["chat_template"] = self.chat_template  # where older engines look for it
        write_json(folder / "tokenizer_config.json", config)
        if self.chat_template is not None:
            write_text(folder / TEMPLATE_FILE, self.chat_template)


def wrap(
    backend: tokenizers.Tokenizer,
    end_token: str,
    pad_token: str | None = None,
    names: Mapping[str, Any] | None = None,
    chat_template: str | None = None,
) -> Tokenizer:
    """A `Tokenizer` from one of the `tokenizers` library, with its document end and padding."""
    backend.no_truncation()
    backend.no_padding()
    end_id = backend.token_to_id(end_token)
    assert end_id is not None
    # Text must not make special tokens. This is a setting of the object, not of the file.
    backend.encode_special_tokens = True
    size = max(backend.get_vocab(with_added_tokens=True).values()) + 1
    pad_id = None if pad_token is None else backend.token_to_id(pad_token)
    return Tokenizer(
        backend,
        size,
        end_id,
        fingerprint(backend.to_str()),
        pad_id,
        dict(names or {}),
        chat_template,
    )


def extends(longer: Tokenizer, shorter: Tokenizer) -> bool:
    """Whether `longer` makes of a text the ids that `shorter` makes, but for tokens added since."""
    if longer.fingerprint == shorter.fingerprint:
        return True
    ours, theirs = (orjson.loads(one.backend.to_str()) for one in (longer, shorter))
    same = all(ours[part] == theirs[part] for part in ("model", "normalizer", "pre_tokenizer"))
    return same and all(token in ours["added_tokens"] for token in theirs["added_tokens"])


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
    pad = None if tokenizer.pad_id is None else backend.id_to_token(tokenizer.pad_id)
    return wrap(backend, end, pad, tokenizer.names, tokenizer.chat_template)


def load_tokenizer(path: Path | str) -> Tokenizer:
    """Open a tokenizer.json, or the folder it is in: a Hugging Face model folder, or a run.

    Raises:
        InputError: missing, damaged, or without a token that could end a document.
    """
    file = Path(path)
    if (file / "recipe.toml").is_file():  # a run
        file = file / "model"
    if file.is_dir():
        file = file / "tokenizer.json"
    if not file.is_file():
        if any(file.parent.glob("*.model")) or any(file.parent.glob("vocab.*")):
            raise InputError(
                f"'{path}' has its tokenizer in an older form, without tokenizer.json. Save it "
                f"anew: AutoTokenizer.from_pretrained('{path}').save_pretrained('{path}')."
            )
        raise InputError(f"No tokenizer '{path}': name a tokenizer.json or the folder it is in.")
    try:
        backend = tokenizers.Tokenizer.from_str(file.read_text("utf-8"))
    except Exception as error:  # the library raises bare Exceptions
        raise InputError(f"'{file}' is damaged or no tokenizer.json ({error}).") from error
    config = _config(file.parent)
    for name in (_configured("eos_token", config), *_END_NAMES):
        if name is not None and backend.token_to_id(name) is not None:
            return wrap(
                backend,
                name,
                _pad_token(backend, config),
                {key: config[key] for key in _KEPT if config.get(key) is not None},
                _chat_template(file.parent, config),
            )
    raise InputError(
        f"'{file}' has no token that ends a document. Give it one named {END}, or name its own as "
        "eos_token in a tokenizer_config.json beside it."
    )


def _pad_token(backend: tokenizers.Tokenizer, config: Mapping[str, Any]) -> str | None:
    configured = _configured("pad_token", config)
    if configured is not None and backend.token_to_id(configured) is not None:
        return configured
    # A learned piece may read '<pad>' too; only a special token means it.
    special = {
        token.content for token in backend.get_added_tokens_decoder().values() if token.special
    }
    return next((name for name in _PAD_NAMES if name in special), None)


def _config(folder: Path) -> dict[str, Any]:
    """What tokenizer_config.json in `folder` says, if there is one."""
    try:
        found = orjson.loads((folder / "tokenizer_config.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _configured(key: str, config: Mapping[str, Any]) -> str | None:
    """The name of a special token."""
    token = config.get(key)
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _chat_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    """That of a file of its own, or else of tokenizer_config.json; of several, the default."""
    file = folder / TEMPLATE_FILE
    if file.is_file():
        try:
            return file.read_text("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"'{file}' is not UTF-8 text. Save it as UTF-8.") from error
    found = config.get("chat_template")
    if isinstance(found, list):
        named = {
            str(each.get("name")): each.get("template") for each in found if isinstance(each, dict)
        }
        found = named.get("default")
    return found if isinstance(found, str) else None
