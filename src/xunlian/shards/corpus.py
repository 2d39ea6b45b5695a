"""A prepared corpus: a folder with corpus.json (its card), a tokenizer and shards."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xunlian.errors import InputError
from xunlian.files import read_json, sha256
from xunlian.shards.stream import TokenStream, open_shard, open_stream
from xunlian.tokenizer.fingerprint import folder_fingerprint

CARD = "corpus.json"
MASK = "mask"
"""The column of a chat corpus that says which tokens are learned; of preferences, one a side."""
FORMAT = 1
"""Version of the folder's layout, raised when an older Xunlian could not read it."""


@dataclass(frozen=True)
class Corpus:
    """An opened corpus folder. Nothing of its text is in memory."""

    path: Path
    card: dict[str, Any]

    @property
    def vocab_size(self) -> int:
        return self.card["tokenizer"]["vocab_size"]

    @property
    def end_id(self) -> int:
        return self.card["tokenizer"]["end_id"]

    @property
    def pad_id(self) -> int:
        """The id that fills sequences; the end token's where there is no such id."""
        return self.card["tokenizer"].get("pad_id", self.end_id)

    @property
    def start_id(self) -> int:
        """The id that a decoder reads before a target; often that which fills."""
        return self.card["tokenizer"].get("start_id", self.pad_id)

    @property
    def turn_end_id(self) -> int | None:
        """The id that ends an answer in a conversation, if there is one."""
        return self.card["tokenizer"].get("turn_end_id")

    @property
    def task(self) -> str:
        """'language-model', 'chat', 'preference'; for pairs 'translation' or 'summarization'."""
        return self.card.get("task", "language-model")

    @property
    def languages(self) -> dict[str, str | None]:
        """Codes of the languages of 'source' and 'target', None where not known."""
        return {"source": None, "target": None} | self.card.get("languages", {})

    @property
    def tokenizer_fingerprint(self) -> str:
        return self.card["tokenizer"]["fingerprint"]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the checksums of its token files: of what a training reads."""
        shards = [shard for card in self.card["splits"].values() for shard in card["shards"]]
        return hashlib.sha256("\n".join(s["bin_sha256"] for s in shards).encode()).hexdigest()

    def split_card(self, split: str) -> dict[str, Any]:
        """What the split holds: documents, tokens, bytes, characters, words and its shards."""
        return self.card["splits"][split]

    def tokens(self, split: str, column: str | None = None) -> int:
        """The tokens of a split: of one column, or of all."""
        card = self.split_card(split)
        return (card["columns"][column] if column else card)["tokens"]

    def stream(self, split: str, column: str | None = None) -> TokenStream:
        """The tokens of a split ('train' or 'val') as one sequence; empty when there are none.

        `column` names one of several parallel streams ('source' or 'target' of pairs). A chat has
        its tokens in one stream, and in another, `MASK`, which of them are learned; preferences
        have 'chosen' and 'chosen.mask', 'rejected' and 'rejected.mask'.

        Raises:
            InputError: pairs where text is wanted, or the other way round.
        """
        if (column in (None, MASK)) != (self.task in ("language-model", "chat")):
            holds, wants = ("text", "pairs") if column not in (None, MASK) else ("pairs", "text")
            raise InputError(
                f"'{self.path}' is a corpus of {holds} (task {self.task}); this takes a corpus of "
                f"{wants}."
            )
        return open_stream([base for base, _ in self._shards(split, column)])

    def verify(self) -> None:
        """Read every file and compare its checksum.

        Raises:
            InputError: naming the first file that is damaged.
        """
        for split, card in self.card["splits"].items():
            for base, shard in self._shards(split, None, every=True):
                open_shard(base)
                for suffix in ("bin", "idx"):
                    path = base.with_name(f"{base.name}.{suffix}")
                    if sha256(path) != shard[f"{suffix}_sha256"]:
                        raise InputError(
                            f"'{path}' is damaged: its checksum differs. Prepare the corpus again."
                        )
            counted = [
                s["tokens"] for s in card["shards"] if not s.get("column", "").endswith(MASK)
            ]
            assert card["tokens"] == sum(counted)

    def _shards(
        self, split: str, column: str | None, every: bool = False
    ) -> list[tuple[Path, dict[str, Any]]]:
        shards = self.split_card(split)["shards"]
        return [
            (self.path / shard["name"], shard)
            for shard in shards
            if every or shard.get("column") == column
        ]


def open_corpus(path: Path | str) -> Corpus:
    """Open a corpus folder; sizes and the tokenizer are checked, checksums by `verify()`.

    Raises:
        InputError: missing, no corpus, made by a newer Xunlian, or damaged.
    """
    folder = Path(path)
    if not folder.exists():
        raise InputError(f"No corpus '{path}'. Make it: xunlian prepare TEXT --out {path}")
    if not (folder / CARD).is_file():
        raise InputError(
            f"'{path}' is no corpus: it has no {CARD}. Make one: xunlian prepare TEXT --out CORPUS"
        )
    card = read_json(folder / CARD)
    try:
        version = card["format"]
        corpus = Corpus(folder, card)
        shards = [base for split in card["splits"] for base, _ in corpus._shards(split, None, True)]
        expected = corpus.tokenizer_fingerprint
        counts = [s["tokens"] for split in card["splits"].values() for s in split["shards"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"'{folder / CARD}' is damaged: {error} is missing. Prepare the corpus again."
        ) from error
    if version != FORMAT:
        raise InputError(
            f"'{path}' has corpus format {version}; this Xunlian reads {FORMAT}. "
            "Update Xunlian, or prepare the corpus again."
        )
    for base, tokens in zip(shards, counts, strict=True):
        if len(open_shard(base).tokens) != tokens:
            raise InputError(
                f"'{base}.bin' is damaged: its size is wrong. Prepare the corpus again."
            )
    if folder_fingerprint(folder) != expected:
        raise InputError(
            f"'{folder / 'tokenizer.json'}' is not the tokenizer this corpus was made with. "
            "Prepare the corpus again."
        )
    return corpus
