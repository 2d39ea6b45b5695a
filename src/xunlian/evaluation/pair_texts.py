"""What an encoder-decoder is scored on: sources, their references, and both sides as tokens.

It is a corpus's validation split, whose texts are decoded back from the shards, or files of pairs,
read and cleaned as `prepare` does. Unlike training data, all of it is in memory: scores need every
hypothesis beside its references anyway.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xunlian.console import progress, warn
from xunlian.corpus.clean import clean
from xunlian.corpus.pairs.read import find_languages, find_pairs, read_references
from xunlian.corpus.reading.tmx import Languages
from xunlian.errors import InputError
from xunlian.recipe.settings import Corpus as ReadingSettings
from xunlian.shards.corpus import open_corpus
from xunlian.tokenizer.framing import Frame, Frames
from xunlian.tokenizer.sides import Sides
from xunlian.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class PairTexts:
    """Pairs to score; number i of each list belongs together.

    Attributes:
        name: how to call them in a result.
        references: for each source one or several right targets.
        source_tokens, target_tokens: of the source and of its first reference, the end tokens
            included.
        places: the number of each pair in the data, where those without a text were left out.
        count: how many pairs the data has, those left out included.
        languages: of the two sides, None where nothing says.
    """

    name: str
    sources: list[str]
    references: list[list[str]]
    source_tokens: list[np.ndarray]
    target_tokens: list[np.ndarray]
    places: list[int]
    count: int
    languages: Languages

    def target_bytes(self, longest: int) -> int:
        """UTF-8 bytes of the first references, of pairs with at most so many tokens a side."""
        return sum(
            len(several[0].encode())
            for several, source, target in zip(
                self.references, self.source_tokens, self.target_tokens, strict=True
            )
            if max(len(source), len(target)) <= longest
        )


def corpus_pairs(path: Path, tokenizers: Sides, split: str = "val") -> PairTexts:
    """The validation split of a corpus of pairs; its shards are compared with their checksums.

    Raises:
        InputError: no corpus of pairs, damaged, empty, or made with another tokenizer.
    """
    corpus = open_corpus(path)
    if corpus.tokenizer_fingerprint != tokenizers.fingerprint:
        raise InputError(
            f"The corpus '{path}' has another tokenizer than the model. Give the pairs themselves "
            "with --data."
        )
    source_tokens, target_tokens = (
        list(corpus.stream(split, column).documents()) for column in ("source", "target")
    )
    if not source_tokens:
        raise InputError(
            f"The corpus '{path}' has no validation pairs. Say with --data which pairs to score, "
            "or prepare the corpus with --val."
        )
    corpus.verify()
    sources = [tokenizers.source.decode(tokens) for tokens in source_tokens]
    targets = [tokenizers.target.decode(tokens) for tokens in target_tokens]
    return PairTexts(
        f"{path} ({split})",
        sources,
        [[target] for target in targets],
        source_tokens,
        target_tokens,
        list(range(len(sources))),
        len(sources),
        (corpus.languages["source"], corpus.languages["target"]),
    )


def file_pairs(
    paths: Sequence[str],
    settings: ReadingSettings,
    known: Languages,
    tokenizers: Sides,
    frames: Frames,
) -> PairTexts:
    """Files of pairs, read and cleaned as `prepare --pairs` does, but that none is judged.

    Args:
        known: the languages of the model's two sides, where `settings` do not name them.
        frames: what the model wants around the texts.

    Raises:
        InputError: a file is missing or broken, its sides do not match or are swapped, or there
            is no pair in any.
    """
    found = find_pairs(paths)
    settings = settings.model_copy(
        update={
            "source_language": settings.source_language or known[0],
            "target_language": settings.target_language or known[1],
        }
    )
    languages = find_languages(found, settings)
    sources: list[str] = []
    references: list[list[str]] = []
    places: list[int] = []
    counts: Counter[str] = Counter()
    count = 0
    with progress() as bar:
        task = bar.add_task("read", total=sum(file.size for pair in found for file in pair.files))
        for source, targets in read_references(
            found, settings, languages, counts, lambda read: bar.advance(task, read)
        ):
            text, several = _clean(source), list(filter(None, map(_clean, targets)))
            if text and several:
                sources.append(text)
                references.append(several)
                places.append(count)
            count += 1
    if counts["broken_records"]:
        warn(f"{counts['broken_records']:,} broken records were left out.")
    if not sources:
        raise InputError(
            f"There is no pair in {', '.join(paths)}: {count:,} lines, none with text on both "
            "sides."
        )
    if len(sources) < count:
        warn(f"{count - len(sources):,} pairs were left out: a side is empty.")
    return PairTexts(
        ", ".join(paths),
        sources,
        references,
        _tokens(sources, tokenizers.source, frames.source),
        _tokens([several[0] for several in references], tokenizers.target, frames.target),
        places,
        count,
        languages,
    )


def _clean(text: str) -> str:
    return clean(text, Counter()).strip()


def _tokens(texts: list[str], tokenizer: Tokenizer, frame: Frame) -> list[np.ndarray]:
    return [np.array(frame.around(ids)) for ids in tokenizer.encode_batch(texts)]


def guess_language(texts: Sequence[str]) -> str:
    """'zh', 'ja' or 'en', by script alone: what decides how texts are split into words."""
    text = "".join(texts[:1000])
    kana = sum("\u3040" <= character <= "\u30ff" for character in text)
    if 20 * kana > len(text):
        return "ja"
    han = sum("\u3400" <= character <= "\u9fff" for character in text)
    return "zh" if 5 * han > len(text) else "en"
