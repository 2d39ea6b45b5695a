"""The tokenizer of a corpus: a given one, or one learned from a sample of its training text."""

from collections.abc import Callable, Iterable
from pathlib import Path

from xunlian.console import progress
from xunlian.corpus.clean import count_han
from xunlian.errors import InputError
from xunlian.hub import is_hub_name, local_folder
from xunlian.recipe.settings import Tokenizer as TokenizerSettings
from xunlian.tokenizer.sizes import derived_vocab_size
from xunlian.tokenizer.tokenizer import Tokenizer, load_tokenizer, with_end_template
from xunlian.tokenizer.train import KINDS, train_tokenizer


def make_tokenizer(
    settings: TokenizerSettings,
    sample: Callable[[], Iterable[str]],
    train_bytes: int,
    pad: bool = False,
) -> Tokenizer:
    """The tokenizer that `settings` asks for.

    Args:
        sample: gives the sample's texts, each time it is called.
        train_bytes: UTF-8 bytes of the whole training text, from which the size is derived.
        pad: for pairs: with a padding token, and a file that ends sequences (a given tokenizer
            keeps its tokens, and only gets the latter).

    Raises:
        InputError: a damaged tokenizer, an unknown kind, or a size that does not fit.
    """
    if settings.kind not in KINDS and (is_hub_name(settings.kind) or Path(settings.kind).exists()):
        given = load_tokenizer(local_folder(settings.kind, weights=False))
        if settings.vocab_size not in (None, given.vocab_size):
            raise InputError(
                f"tokenizer.vocab_size = {settings.vocab_size}, but '{settings.kind}' has "
                f"{given.vocab_size} tokens. Leave vocab_size out."
            )
        return with_end_template(given) if pad else given
    size = settings.vocab_size
    if size is None:
        characters = han = 0
        for text in sample():
            characters += len(text)
            han += count_han(text)
        size = derived_vocab_size(settings.kind, train_bytes, han / max(1, characters))
        size += pad and settings.kind == "byte"  # whose size is fixed
    with progress() as bar:
        bar.add_task("tokenizer", total=None)
        shrink = settings.vocab_size is None
        return train_tokenizer(iter(sample()), settings.kind, size, shrink, pad)
