"""The table `tokenizer`: how text becomes tokens."""

from pydantic import Field

from xunlian.recipe.table import Table


class Tokenizer(Table):
    """How text becomes tokens."""

    kind: str = Field(
        "bpe",
        description="bpe (byte-level), unigram, wordpiece, byte, char, or what has a tokenizer to "
        "reuse: a tokenizer.json, a run, a model folder, or hf:owner/name. With model.init_from "
        "the default is that of the model.",
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
    chat_template: str | None = Field(
        None,
        description="Chat: the template that makes a text of a conversation: chatml, a .jinja file "
        "as Transformers takes it, or a model folder that has one. Default: that of a tokenizer "
        "that is reused, else chatml.",
    )
    sample_bytes: int = Field(
        16_000_000,
        ge=1000,
        description="At most so many bytes of text, spread over the corpus, train the tokenizer.",
    )
