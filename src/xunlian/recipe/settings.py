"""The tables of a recipe: every field with its type, its default and one sentence of explanation.

The tables, here and in the files beside this one that it imports, are the single place where a
setting is documented; the command line's help, `xunlian recipe --explain` and the reference page
are made from them. A field whose default is None is *derived*: `resolve.py` fills it from the size,
the corpus and the machine, and the run's own `recipe.toml` holds the value that was used.
"""

import re
from typing import Literal

from pydantic import Field, field_validator

from xunlian.recipe.adapter import Adapter
from xunlian.recipe.corpus import Corpus, split_download
from xunlian.recipe.decoding import Decoding
from xunlian.recipe.distill import Distill
from xunlian.recipe.preference import Preference
from xunlian.recipe.table import Table
from xunlian.recipe.tokenizer import Tokenizer

__all__ = [
    "CHAT_TASKS",
    "PAIR_TASKS",
    "Corpus",
    "Decoding",
    "Model",
    "Recipe",
    "Task",
    "Tokenizer",
    "Training",
    "parse_size",
    "split_download",
]

Task = Literal["language-model", "chat", "preference", "translation", "summarization"]
CHAT_TASKS = {"chat": "conversations", "preference": "preferences"}
"""The tasks that learn from conversations, and what one learns from is called."""
PAIR_TASKS = ("translation", "summarization")
"""The tasks that learn from pairs: a source and a target."""


class Model(Table):
    """The network. `size` or `depth` alone is enough; every other field can override."""

    family: Literal["transformer", "lstm", "gru", "rnn"] = Field(
        "transformer",
        description="Kind of network. lstm, gru and rnn are recurrent: they have depth and width "
        "only, a language model of theirs carries its state on through the text, one for pairs "
        "has attention; only Xunlian opens them.",
    )
    architecture: (
        Literal[
            "qwen3",
            "qwen2",
            "llama",
            "mistral",
            "gpt2",
            "speedrun",
            "pegasus",
            "marian",
            "m2m_100",
            "bart",
            "mbart",
        ]
        | None
    ) = Field(
        None,
        description="Layout of a transformer; Transformers opens all but speedrun. qwen3: RMSNorm, "
        "rotary positions, QK-norm, SwiGLU. llama, mistral: the same without QK-norm. qwen2: as "
        "llama, with biases on queries, keys and values (Transformers opens its tokenizer only of "
        "the kinds bpe and byte). gpt2: LayerNorm, learned positions, GELU, "
        "biases. "
        "speedrun: as qwen3, with value embeddings and residual scalars; only Xunlian opens it. "
        "For pairs, pegasus: norms before each part; marian: norms after each part, as in the "
        "paper; m2m_100, bart and mbart come with model.init_from. Default: qwen3, and pegasus for "
        "pairs.",
    )
    size: str | None = Field(
        None,
        description="The dial: total number of parameters, such as 10m or 1.5b, all embeddings "
        "included, the value embeddings of speedrun, too. It sets depth and width once the "
        "vocabulary is known; as key=value it replaces those of the recipe.",
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
        description="Start from the weights of a run, of a Hugging Face model folder, or of a "
        "model of its hub (hf:owner/name) instead of random ones. The shape comes from there; the "
        "corpus must have its tokenizer.",
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
        "most 8 epochs; for an adapter and for preferences 3 epochs.",
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
        "are accumulated up to batch_tokens. Default: up to 4,096 on a CPU, 65,536 on a GPU, fewer "
        "where those do not fit in memory.",
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
        description="Decoupled weight decay of the matrices. Default: 0.01 (muon), 0.1 (adamw), 0 "
        "for an adapter and for preferences.",
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
        0.02, ge=0, lt=1, description="Fraction of the training in which the rate rises."
    )
    decay: float = Field(
        0.6,
        ge=0,
        le=1,
        description="Fraction of the training, at its end, in which the rate falls linearly. Of a "
        "budget of time, what passes before the first step is left out of it.",
    )
    final_rate: float = Field(
        0.0, ge=0, le=1, description="What is left of the rate at the very end, as a fraction."
    )
    bigram_start: bool = Field(
        False,
        description="Learn which token follows which from counts over the corpus, before the first "
        "step: some 20 updates of embedding, head and one block. For very short trainings of a "
        "language model from random weights, with a large vocabulary.",
    )
    copying_start: bool | None = Field(
        None,
        description="Begin with heads that look where the token that they stand on came before, "
        "and copy what followed it there, which a network finds out late by itself. For a qwen3 "
        "from random weights with a large vocabulary. Where all blocks learn from the start, other "
        "blocks disturb them. Default: with grow_from, where there are 1,000 tokens or more.",
    )
    grow_from: int | None = Field(
        None,
        ge=0,
        description="So many blocks learn first, evenly spread; the others join when the rate "
        "begins to fall (`decay`). Until then a step takes a fraction of the time. For a language "
        "model from random weights. 0: all learn from the start. Default: 2, where heads that copy "
        "go with it: a qwen3 of 4 blocks or more, a vocabulary of 1,000 or more, on a CPU, and a "
        "training that reads at most 5 million tokens (of 10 million it saves a ninth of the time, "
        "but no loss is gained) and none of them twice; else 0.",
    )
    label_smoothing: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Probability spread over all tokens in what is learned; of preferences, how "
        "many are taken to be the wrong way round. Default: 0.1 for pairs, else 0.",
    )
    neftune_alpha: float = Field(
        0.0,
        ge=0,
        description="Chat: size of the noise on the embeddings while training (NEFTune, arXiv "
        "2310.05914), such as 5. 0: off.",
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
        "Transformer's blocks, on NVIDIA GPUs from Ada and Hopper on; pays above some 300M "
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


class Recipe(Table):
    """All that a run is made of."""

    task: Task = Field(
        "language-model",
        description="What is learned: to go on with a text, to answer in a conversation, to prefer "
        "better answers to worse ones, or to turn a source into a target.",
    )
    about: str = Field("", description="One line on what the recipe is for.")
    prompts: tuple[str, ...] = Field((), description="Prompts of the samples shown after training.")
    corpus: Corpus = Corpus()
    tokenizer: Tokenizer = Tokenizer()
    model: Model = Model()
    adapter: Adapter | None = Field(None, description="Train a few small matrices only.")
    preference: Preference | None = Field(None, description="Learn from preferences.")
    distill: Distill | None = Field(None, description="Learn from a bigger model, too.")
    training: Training = Training()
    decoding: Decoding = Decoding()


def parse_size(text: str) -> int:
    """'10m' -> 10,000,000. Units: k, m, b.

    Raises:
        ValueError: not such a number.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmb]?)\s*", text.lower())
    if not match or float(match[1]) == 0:
        raise ValueError(f"'{text}' is no size; write for example 10m, 350k or 1.5b")
    return round(float(match[1]) * {"": 1, "k": 1e3, "m": 1e6, "b": 1e9}[match[2]])
