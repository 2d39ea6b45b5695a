"""The table `tokenizer`: how text becomes tokens."""

from pydantic import Field

from xunlian.recipe.table import Table


class Tokenizer(Table):
    """How text becomes tokens."""

    kind: str = Field(
        "bpe",
        description="bpe (byte-level), unigram, wordpiece, byte, char, or the path of a "
        "tokenizer.json to reuse.",
    )
    vocab_size: int | None = Field(
        None,
        ge=2,
        description="Number of tokens, special ones included. Derived from the amount "
        "of text: 1,024 to 32,768.",
    )
    separate: bool = Field(
        False,
        description="Pairs: a tokenizer of its own for each side, of vocab_size tokens each. For "
        "languages that share few words, such as en and zh: the texts become fewer tokens, but "
        "the output head has those of both sides.",
    )
    sample_bytes: int = Field(
        16_000_000,
        ge=1000,
        description="At most so many bytes of text, spread over the corpus, train the tokenizer.",
    )
