"""The tables of a recipe: every field with its type, its default and one sentence of explanation.

This file is the single place where a setting is documented; the command line's help, `xunlian
recipe --explain` and the reference page are made from it. A field whose default is None is
*derived*: `resolve.py` fills it from the size, the corpus and the machine, and the run's own
`recipe.toml` holds the value that was used.
"""

import re
from typing import Any, Literal

from pydantic import Field, field_validator

from xunlian.recipe.adapter import Adapter
from xunlian.recipe.corpus_clean import Clean
from xunlian.recipe.corpus_dedup import Decontaminate, Deduplicate
from xunlian.recipe.corpus_language import Language
from xunlian.recipe.corpus_privacy import Privacy
from xunlian.recipe.corpus_quality import Quality
from xunlian.recipe.corpus_reading import Reading
from xunlian.recipe.table import Table

Task = Literal["language-model", "translation", "summarization"]
PAIR_TASKS = ("translation", "summarization")
"""The tasks that learn from pairs: a source and a target."""


class Ingredient(Table):
    """One of several sources that are mixed."""

    name: str = Field(description="What to call it in reports.")
    sources: tuple[str, ...] = Field(min_length=1, description="Files, folders or globs.")
    weight: float = Field(gt=0, description="Its share of the tokens, relative to the others.")


class Corpus(Table):
    """Which text, and how it becomes documents."""

    path: str | None = Field(
        None,
        description="Corpus folder. Made by `xunlian prepare`, or on the way from `sources`.",
    )
    sources: tuple[str, ...] = Field(
        (),
        description="Files, folders, globs or URLs to prepare when `path` is not there yet: .txt, "
        ".md, .html, .warc, .jsonl, .csv, .tsv, .parquet, .arrow, .pdf, each also .gz, .zst, .bz2 "
        "or .xz, and .zip and .tar. `sample:NAME` is a text that ships with Xunlian. For pairs: "
        "aligned text files two by two (source, target, ...), or files with both sides: .tsv, "
        ".csv, .jsonl, .parquet, .tmx.",
    )
    mixture: tuple[Ingredient, ...] = Field(
        (),
        description="In place of `sources`: several, each with a name, its sources and a weight: "
        '{name = "wiki", sources = ["wiki/*.gz"], weight = 2}. A source that is small for its '
        "weight is repeated.",
    )
    max_copies: float = Field(
        4.0,
        ge=1,
        description="A source of the mixture is repeated at most so often; then the others are "
        "thinned.",
    )
    val: tuple[str, ...] = Field(
        ("0.05",),
        min_length=1,
        description="Validation text: files, or the fraction of the documents or pairs held out "
        "(of each text's end, when there are fewer than twenty documents).",
    )
    download: tuple[str, ...] = Field(
        (),
        description="Where `prepare --download` gets files of `sources` and `val` that are not "
        "there: 'https://ADDRESS BYTES SHA256' each, for the file of the same name.",
    )
    licence: str = Field(
        "", description="Of the text, for the corpus's report: such as CC BY-SA 4.0."
    )
    text_field: str = Field(
        "text", description="Field or column with the text (.jsonl, .csv, .tsv, .parquet, .arrow)."
    )
    source_field: str = Field(
        "source",
        description="Pairs: field or column with the source; in a .tsv also the column's number. "
        "A .tsv without names has the source in column 1 and the target in column 2.",
    )
    target_field: str = Field("target", description="Pairs: field or column with the target.")
    source_language: str | None = Field(
        None,
        description="Pairs: code of the source's language, such as en, de, zh, lzh. Default: the "
        "ending of an aligned file (train.en), or what a .tmx says.",
    )
    target_language: str | None = Field(
        None, description="Pairs: code of the target's language, likewise."
    )
    max_length_ratio: float = Field(
        3.0,
        ge=0,
        description="Translation: drop a pair whose longer side has more than so many times the "
        "characters of the shorter one (a Chinese or Japanese one counts 3, and both sides 10 "
        "more, so that short pairs pass). 0: no limit.",
    )
    documents: Literal["file", "paragraph", "line", "wiki"] = Field(
        "file",
        description="What one document is in a .txt file: the whole file, a paragraph (blank line "
        "between), a line, or what stands between <doc ...> and </doc> (wiki: WikiExtractor's "
        "files).",
    )
    encoding: str = Field(
        "auto", description="Encoding of text files. `auto` knows UTF-8, UTF-16, GB18030 and Big5."
    )
    on_error: Literal["stop", "skip"] = Field(
        "stop", description="At a broken line or record: stop and name it, or skip and count it."
    )

    reading: Reading = Field(Reading(), description="How files of some formats are read.")
    clean: Clean | None = Field(
        None,
        description="Clean the text thoroughly. By default only line ends, control "
        "characters and the normal form of Unicode.",
    )
    language: Language | None = Field(None, description="Keep certain languages.")
    quality: Quality | None = Field(None, description="Drop poor text.")
    privacy: Privacy | None = Field(None, description="Mask personal data.")
    decontaminate: Decontaminate | None = Field(
        None, description="Drop what a model will be evaluated on."
    )
    deduplicate: Deduplicate | None = Field(None, description="Drop copies.")

    bias_audit: bool = Field(
        False,
        description="Count how often groups (gender, region, religion, age, occupation) occur and "
        "in whose company, for the corpus's report.",
    )

    @property
    def names_text(self) -> bool:
        """Whether it says which text to prepare."""
        return bool(self.sources or self.mixture)

    @field_validator("clean", "language", "quality", "privacy", "deduplicate", mode="before")
    @classmethod
    def _on_or_off(cls, value: Any) -> Any:
        """true: with its defaults; false: not at all."""
        return {} if value is True else None if value is False else value

    @field_validator("download")
    @classmethod
    def _check_download(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            split_download(entry)
        return value

    @field_validator("val", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        """A lone file or fraction needs no brackets."""
        items = value if isinstance(value, (tuple, list)) else (value,)
        numbers = (int, float)
        return tuple(str(item) if isinstance(item, numbers) else item for item in items)


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


class Model(Table):
    """The network. `size` or `depth` alone is enough; every other field can override."""

    family: Literal["transformer", "lstm", "gru", "rnn"] = Field(
        "transformer",
        description="Kind of network. lstm, gru and rnn are recurrent: they have depth and width "
        "only, a language model of theirs carries its state on through the text, one for pairs "
        "has attention; only Xunlian opens them.",
    )
    architecture: Literal["qwen3", "gpt2", "speedrun", "pegasus", "marian"] | None = Field(
        None,
        description="Layout of a transformer; Transformers opens all but speedrun. qwen3: RMSNorm, "
        "rotary positions, QK-norm, SwiGLU. gpt2: LayerNorm, learned positions, GELU, biases. "
        "speedrun: as qwen3, with value embeddings and residual scalars; only Xunlian opens it. "
        "For pairs, pegasus: norms before each part; marian: norms after each part, as in the "
        "paper. Default: qwen3, and pegasus for pairs.",
    )
    size: str | None = Field(
        None,
        description="The dial: total number of parameters, such as 10m or 1.5b, all embeddings "
        "included, the value embeddings of speedrun, too. It sets depth and width once the "
        "vocabulary is known.",
    )
    depth: int | None = Field(
        None, ge=1, description="Number of layers; of an encoder-decoder, those of the encoder."
    )
    decoder_depth: int | None = Field(
        None, ge=1, description="Layers of the decoder, for pairs. Default: as `depth`."
    )
    width: int | None = Field(None, ge=8, description="Width of the residual stream.")
    heads: int | None = Field(None, ge=1, description="Attention heads (query).")
    kv_heads: int | None = Field(
        None,
        ge=1,
        description="Key/value heads; fewer than `heads` is grouped-query attention. "
        "Default: as `heads`.",
    )
    head_width: int | None = Field(None, ge=4, description="Width of one head. Default: 64.")
    mlp_width: int | None = Field(
        None,
        ge=8,
        description="Hidden width of the feed-forward part. Default: 8/3 width "
        "(SwiGLU) or 4 width (GELU).",
    )
    context: int = Field(
        256,
        ge=8,
        description="Tokens the model sees at once; for pairs, the longest source and target; of a "
        "recurrent language model, the tokens that a gradient goes back (64 trains faster).",
    )
    tied: bool | None = Field(
        None,
        description="Share the embedding with the output head. Default: no, but yes for pairs, for "
        "gpt2, and where two tables would be most of the size.",
    )
    dropout: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Dropout rate on embeddings and on each block's output. "
        "Default: by how often the corpus is repeated.",
    )
    rope_theta: float = Field(10_000.0, gt=0, description="Base of the rotary frequencies.")
    init_from: str | None = Field(
        None,
        description="Start from the weights of this run (same shape and tokenizer) instead "
        "of random ones.",
    )

    @field_validator("size")
    @classmethod
    def _check_size(cls, value: str | None) -> str | None:
        if value is not None:
            parse_size(value)
        return value


class Training(Table):
    """How the network learns."""

    budget: str | None = Field(
        None,
        description="How long: '5min', '90s', '2h' of wall clock from process start, compile "
        "included; or '200 steps', '10M tokens', '3 epochs'. Default: 20 tokens a parameter, at "
        "most 8 epochs.",
    )
    batch_tokens: int | None = Field(
        None,
        ge=8,
        description="Tokens in one optimizer step. Derived from the size and the budget.",
    )
    micro_batch_tokens: int | None = Field(
        None,
        ge=8,
        description="Tokens in one forward and backward pass of one process; gradients "
        "are accumulated up to batch_tokens. Default: up to 4,096 on a CPU, 65,536 on a GPU.",
    )
    optimizer: Literal["muon", "adamw"] | None = Field(
        None,
        description="muon: Muon for the matrices, AdamW for the rest. adamw: AdamW for all. "
        "Default: muon; for an adapter adamw, whose second matrices learn 8 times as fast as the "
        "first ones (LoRA+, arXiv 2402.12354).",
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        description="Learning rate of the matrices. Default: 0.02 (muon), or by width (adamw).",
    )
    embedding_learning_rate: float | None = Field(
        None, gt=0, description="Learning rate of the embeddings (AdamW)."
    )
    head_learning_rate: float | None = Field(
        None, gt=0, description="Learning rate of an untied output head (AdamW)."
    )
    norm_learning_rate: float | None = Field(
        None, gt=0, description="Learning rate of norms and biases (AdamW)."
    )
    weight_decay: float | None = Field(
        None,
        ge=0,
        description="Decoupled weight decay of the matrices. Default: 0.01 (muon), 0.1 (adamw).",
    )
    momentum: float = Field(0.95, ge=0, lt=1, description="Momentum of Muon.")
    muon_block: int | None = Field(
        None,
        ge=0,
        description="Muon orthogonalizes slices of so many rows instead of whole matrices, which "
        "is cheaper; 0: whole. Default: by batch_tokens, so that it costs about a twentieth of the "
        "products of the network.",
    )
    betas: tuple[float, float] = Field((0.9, 0.95), description="Betas of AdamW.")
    warmup: float = Field(
        0.02, ge=0, lt=1, description="Fraction of the budget in which the rate rises."
    )
    decay: float = Field(
        0.6,
        ge=0,
        le=1,
        description="Fraction of the budget, at its end, in which the rate falls linearly.",
    )
    final_rate: float = Field(
        0.0, ge=0, le=1, description="What is left of the rate at the very end, as a fraction."
    )
    label_smoothing: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Probability spread over all tokens in what is learned. Default: 0.1 for "
        "pairs, else 0.",
    )
    grad_clip: float = Field(
        1.0, ge=0, description="Largest norm of the gradient; larger ones are scaled down. 0: off."
    )
    average_decay: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Validate and keep a moving average of the weights, of which each step keeps "
        "this share, such as 0.995. 0: off.",
    )
    precision: Literal["auto", "bf16", "fp32", "fp8"] = Field(
        "auto",
        description="Compute precision. Master weights are always fp32. auto measures the "
        "machine for a second. fp32 is TF32 on a GPU. fp8: bf16, but for the products of a "
        "Transformer's blocks, on NVIDIA GPUs from Ada and Hopper on; pays above some 500M "
        "parameters.",
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto", description="Use torch.compile. auto: when it pays within the budget."
    )
    attention: Literal["auto", "sdpa", "matmul"] = Field(
        "auto",
        description="How causal attention is computed: the library's fused kernel, or "
        "blocks of matrix products (faster on a CPU for short contexts).",
    )
    threads: int | None = Field(
        None, ge=1, description="CPU threads per process. Default: the cores this process may use."
    )
    validate_every: int | None = Field(
        None,
        ge=1,
        description="Steps between validations. Default: so that they take a few "
        "percent of the time.",
    )
    early_stopping: int | None = Field(
        None, ge=1, description="Stop after so many validations without a better loss."
    )
    checkpoint_every: int | None = Field(
        None, ge=1, description="Steps between checkpoints. Default: about every five minutes."
    )
    keep_checkpoints: int = Field(2, ge=1, description="How many checkpoints are kept.")
    average_checkpoints: int = Field(
        0,
        ge=0,
        description="At the end, also validate the mean of the weights of so many last "
        "checkpoints, which are kept for it, and take it for model/ when it is better. 0: off.",
    )
    log_every: int | None = Field(
        None,
        ge=1,
        description="Steps between lines of metrics.jsonl. Default: about 400 lines in all.",
    )
    seed: int = Field(1, ge=0, lt=2**63, description="Seed of weights, data order and dropout.")

    @field_validator("budget")
    @classmethod
    def _check_budget(cls, value: str | None) -> str | None:
        if value is not None:
            from xunlian.recipe.budget import parse_budget

            parse_budget(value)
        return value


class Decoding(Table):
    """How text is generated from a trained model."""

    max_tokens: int = Field(200, ge=1, description="At most so many new tokens.")
    temperature: float = Field(0.8, ge=0, description="0: always the most probable token.")
    top_k: int = Field(0, ge=0, description="Choose among the k most probable tokens. 0: all.")
    top_p: float = Field(
        0.95,
        gt=0,
        le=1,
        description="Choose among the most probable tokens that together have this probability.",
    )
    min_p: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Leave out tokens less probable than this fraction of the most probable one.",
    )
    repetition_penalty: float = Field(
        1.0, gt=0, description="Above 1: tokens that occurred become less probable."
    )
    stop: tuple[str, ...] = Field((), description="Stop at any of these strings.")
    seed: int | None = Field(
        None, ge=0, lt=2**63, description="Seed of the sampling. Default: a new one each time."
    )
    beam: int = Field(
        5, ge=1, description="Translations that are followed at a time. 1: greedy, the fastest."
    )
    length_penalty: float = Field(
        1.0,
        ge=-10,
        le=10,
        description="A translation scores log p / length^this: above 0 favours long ones.",
    )


class Recipe(Table):
    """All that a run is made of."""

    task: Task = Field(
        "language-model",
        description="What is learned: to go on with a text, or to turn a source into a target.",
    )
    about: str = Field("", description="One line on what the recipe is for.")
    prompts: tuple[str, ...] = Field((), description="Prompts of the samples shown after training.")
    corpus: Corpus = Corpus()
    tokenizer: Tokenizer = Tokenizer()
    model: Model = Model()
    adapter: Adapter | None = Field(None, description="Train a few small matrices only.")
    training: Training = Training()
    decoding: Decoding = Decoding()


def split_download(entry: str) -> tuple[str, int, str]:
    """'https://ADDRESS BYTES SHA256' -> its parts.

    Raises:
        ValueError: not such an entry.
    """
    match = re.fullmatch(r"(https://\S+)\s+(\d+)\s+([0-9a-f]{64})", entry)
    if not match:
        raise ValueError(f"'{entry}' is not https://ADDRESS BYTES SHA256")
    return match[1], int(match[2]), match[3]


def parse_size(text: str) -> int:
    """'10m' -> 10,000,000. Units: k, m, b.

    Raises:
        ValueError: not such a number.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmb]?)\s*", text.lower())
    if not match or float(match[1]) == 0:
        raise ValueError(f"'{text}' is no size; write for example 10m, 350k or 1.5b")
    return round(float(match[1]) * {"": 1, "k": 1e3, "m": 1e6, "b": 1e9}[match[2]])
