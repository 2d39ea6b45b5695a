"""The tokenizer of a corpus: a given one, or one learned from a sample of its training text."""

from collections.abc import Callable, Iterable
from pathlib import Path

from xunlian.console import progress
from xunlian.corpus.clean import count_han
from xunlian.errors import InputError
from xunlian.hub import is_hub_name, local_folder
from xunlian.recipe.settings import Tokenizer as TokenizerSettings
from xunlian.tokenizer.framing import Languages, for_pairs
from xunlian.tokenizer.sizes import derived_vocab_size
from xunlian.tokenizer.tokenizer import Tokenizer, load_tokenizer
from xunlian.tokenizer.train import KINDS, train_tokenizer


def make_tokenizer(
    settings: TokenizerSettings,
    sample: Callable[[], Iterable[str]],
    train_bytes: int,
    pairs: Languages | None = None,
) -> Tokenizer:
    """The tokenizer that `settings` asks for.

    Args:
        sample: gives the sample's texts, each time it is called.
        train_bytes: UTF-8 bytes of the whole training text, from which the size is derived.
        pairs: for pairs, the languages of both sides: with a padding token, and a file that ends
            sequences, or puts around them what the model wants that a given tokenizer is from (a
            given one keeps its tokens).

    Raises:
        InputError: a damaged tokenizer, an unknown kind, a size that does not fit, or languages
            that the model of a given tokenizer does not have.
    """
    if place := given_place(settings):
        given = load_tokenizer(place)
        if settings.vocab_size not in (None, given.vocab_size):
            raise InputError(
                f"tokenizer.vocab_size = {settings.vocab_size}, but '{settings.kind}' has "
                f"{given.vocab_size} tokens. Leave vocab_size out."
            )
        return given if pairs is None else for_pairs(given, place, pairs)
    size = settings.vocab_size
    if size is None:
        characters = han = 0
        for text in sample():
            characters += len(text)
            han += count_han(text)
        size = derived_vocab_size(settings.kind, train_bytes, han / max(1, characters))
        size += pairs is not None and settings.kind == "byte"  # whose size is fixed
    with progress() as bar:
        bar.add_task("tokenizer", total=None)
        shrink = settings.vocab_size is None
        return train_tokenizer(iter(sample()), settings.kind, size, shrink, pairs is not None)


def given_place(settings: TokenizerSettings) -> Path | None:
    """Where the tokenizer lies that `settings` give; None: it is to be learned."""
    if settings.kind not in KINDS and (is_hub_name(settings.kind) or Path(settings.kind).exists()):
        return local_folder(settings.kind, weights=False)
    return None
