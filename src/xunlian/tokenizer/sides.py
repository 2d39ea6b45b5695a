"""The tokenizers of a corpus or a model: one, or for pairs one for each side.

Two of them share one range of ids, so that a network needs one embedding whatever the tokenizers
are, and every layout and engine takes it as it is: the special tokens are the source's, and the
other tokens of the target come after those of the source.

    tokenizer.json  tokenizer_config.json   of a text, of both sides, or of the source
    target/                                 the same of the target, where it has its own
"""

from pathlib import Path
from typing import NamedTuple

import orjson
import tokenizers

from xunlian.errors import InputError
from xunlian.tokenizer.fingerprint import TARGET, joint_fingerprint
from xunlian.tokenizer.framing import Frame, read_frames
from xunlian.tokenizer.tokenizer import Tokenizer, load_tokenizer, with_end_template, wrap


class Sides(NamedTuple):
    """The tokenizer of what is read and that of what is written; often the same."""

    source: Tokenizer
    target: Tokenizer

    @property
    def separate(self) -> bool:
        return self.source is not self.target

    @property
    def vocab_size(self) -> int:
        """One more than the largest id of both."""
        return max(self.source.vocab_size, self.target.vocab_size)

    @property
    def fingerprint(self) -> str:
        if not self.separate:
            return self.source.fingerprint
        return joint_fingerprint(self.source.fingerprint, self.target.fingerprint)

    def of(self, column: str | None) -> Tokenizer:
        """That of the column 'target' of pairs, or else of any text."""
        return self.target if column == "target" else self.source

    def frame(self, column: str | None) -> Frame:
        """What stands around a text of that column; around any text, the end token."""
        if column not in ("source", "target"):
            return Frame((), (self.source.end_id,))
        return read_frames(self.of(column))[column == "target"]

    def save(self, folder: Path) -> None:
        """Write the files above into `folder`, which exists."""
        self.source.save(folder)
        if self.separate:
            (folder / TARGET).mkdir(exist_ok=True)
            self.target.save(folder / TARGET)


def load_sides(folder: Path | str) -> Sides:
    """The tokenizers of a folder; `load_tokenizer` says what may be wrong."""
    source = load_tokenizer(folder)
    target = Path(folder) / TARGET
    return Sides(source, load_tokenizer(target) if target.is_dir() else source)


def side_by_side(source: Tokenizer, target: Tokenizer) -> Sides:
    """Both with ids of one range: the target's are moved behind the source's.

    Raises:
        InputError: the target's kind counts its ids (unigram).
    """
    content = orjson.loads(target.backend.to_str())
    vocab = content["model"]["vocab"]
    if not isinstance(vocab, dict):
        raise InputError(
            "tokenizer.separate = true needs ids that can be moved, which kind 'unigram' has not. "
            "Choose tokenizer.kind=bpe, or one tokenizer for both sides."
        )
    assert target.pad_id is not None and source.pad_id is not None
    pad_token = str(target.backend.id_to_token(target.pad_id))
    special = {target.end_token: source.end_id, pad_token: source.pad_id}
    others = sorted(set(vocab) - set(special), key=vocab.__getitem__)
    moved = special | {token: source.vocab_size + i for i, token in enumerate(others)}
    content["model"]["vocab"] = moved
    for token in content["added_tokens"]:
        token["id"] = moved[token["content"]]
    content["post_processor"] = None  # it names the old end; made anew
    backend = tokenizers.Tokenizer.from_str(orjson.dumps(content).decode())
    return Sides(source, with_end_template(wrap(backend, target.end_token, pad_token)))
