"""From what a user names, a run or a Hugging Face model folder, to a model ready for use."""

import re
from dataclasses import dataclass
from pathlib import Path

from xunlian.errors import InputError, did_you_mean
from xunlian.hub import PREFIX, local_folder
from xunlian.interop.adapters import WEIGHTS_FILE as ADAPTER_FILE
from xunlian.interop.adapters import is_adapter
from xunlian.interop.huggingface import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    Model,
    load_model,
    read_end_ids,
    read_start_id,
)
from xunlian.models.decoder import Decoder
from xunlian.models.encoder_decoder import EncoderDecoder
from xunlian.models.recurrent import RecurrentModel
from xunlian.models.recurrent_pairs import RecurrentPairModel
from xunlian.recipe.load import shipped_recipes
from xunlian.recipe.settings import Decoding
from xunlian.runs.adapted import load_merged
from xunlian.runs.folder import open_run
from xunlian.tokenizer.sides import Sides, load_sides
from xunlian.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class Loaded:
    """A model with what belongs to it: its tokenizers, the tokens that end a text, its settings.

    `start_id` is the token that the targets of an encoder-decoder start from, else None.
    """

    folder: Path
    model: Model
    tokenizers: Sides
    end_ids: frozenset[int]
    decoding: Decoding
    start_id: int | None = None

    @property
    def tokenizer(self) -> Tokenizer:
        """That of what the model reads."""
        return self.tokenizers.source


def is_run(path: Path | str) -> bool:
    return (Path(path) / "recipe.toml").is_file()


def load_folder(path: Path | str) -> Path:
    """The Hugging Face model folder of a run, or `path` itself when it is one.

    A name such as 'hf:Qwen/Qwen3-0.6B' is fetched from the hub.

    Raises:
        InputError: it is neither, or a run whose training has saved no model yet.
        XunlianError: it could not be fetched.
    """
    path = local_folder(path)
    if is_run(path):
        folder = path / "model"
        weights = ADAPTER_FILE if is_adapter(folder) else WEIGHTS_FILE
        if not (folder / CONFIG_FILE).is_file() or not (folder / weights).is_file():
            raise InputError(
                f"The run '{path}' has no model yet. Go on training it with "
                f"`xunlian train {path} --resume`."
            )
        return folder
    if (path / CONFIG_FILE).is_file():
        return path
    mend = "Name a folder made by `xunlian train`, or a Hugging Face model folder."
    if not path.exists():
        near = [str(p) for p in path.parent.glob("*") if is_run(p) or (p / CONFIG_FILE).is_file()]
        if (shipped := re.sub(r"-\d+$", "", path.name)) in shipped_recipes():
            mend = f"`xunlian train {shipped}` makes one."
        elif re.fullmatch(r"[\w.-]+/[\w.-]+", str(path)) and not near:
            mend += f" One of Hugging Face's hub is fetched as {PREFIX}{path}."
        raise InputError(f"There is no run '{path}'.{did_you_mean(str(path), near)} {mend}")
    if (path / "corpus.json").is_file():
        raise InputError(
            f"'{path}' is a corpus, not a run. Train on it first: "
            f"xunlian train RECIPE corpus.path={path}"
        )
    raise InputError(
        f"'{path}' is neither a run (it has no recipe.toml) nor a model folder (it "
        f"has no config.json). {mend}"
    )


def load_weights(folder: Path, *, context: int | None = None, dropout: float = 0.0) -> Model:
    """The model of a model folder in fp32, ready for evaluation; an adapter is merged into its
    base. `context` and `dropout` as in `load_model`.

    Raises:
        InputError: something in it is missing, damaged or does not fit.
    """
    load = load_merged if is_adapter(folder) else load_model
    return load(folder, context=context, dropout=dropout)


def load_run(path: Path | str) -> Loaded:
    """Open the model, tokenizer and settings of a run or of a Hugging Face model folder.

    Raises:
        InputError: it is neither, or something in it is missing, damaged or does not fit.
    """
    folder = load_folder(path)
    decoding = open_run(path).recipe.decoding if is_run(path) else Decoding()
    model = load_weights(folder)
    tokenizers = load_sides(folder)
    tokenizer = tokenizers.source
    if tokenizers.vocab_size > model.config.vocab_size:
        raise InputError(
            f"In '{folder}', the tokenizer has {tokenizers.vocab_size} tokens but the "
            f"model only {model.config.vocab_size}. They do not belong together; copy "
            "them again."
        )
    end_ids = frozenset({tokenizer.end_id, *read_end_ids(folder)})
    start_id = None
    if isinstance(model, EncoderDecoder | RecurrentPairModel):
        start_id = _start_id(folder, tokenizer, model.config.vocab_size)
    return Loaded(folder, model, tokenizers, end_ids, decoding, start_id)


def require_decoder(loaded: Loaded) -> Decoder | RecurrentModel:
    """The model, for a verb that needs a language model.

    Raises:
        InputError: it turns a source into a target instead.
    """
    if isinstance(loaded.model, Decoder | RecurrentModel):
        return loaded.model
    raise InputError(
        f"'{loaded.folder}' is no language model: it turns a source into a target. Use "
        "`xunlian translate` or `xunlian summarize`."
    )


def require_encoder_decoder(loaded: Loaded) -> EncoderDecoder | RecurrentPairModel:
    """The model, for a verb that needs one that turns a source into a target.

    Raises:
        InputError: it is a language model instead.
    """
    if isinstance(loaded.model, EncoderDecoder | RecurrentPairModel):
        return loaded.model
    raise InputError(
        f"'{loaded.folder}' is a language model: it goes on with a text and cannot translate. Use "
        '`xunlian generate`, or train with task = "translation".'
    )


def _start_id(folder: Path, tokenizer: Tokenizer, vocab_size: int) -> int:
    start_id = read_start_id(folder)
    start_id = tokenizer.pad_id if start_id is None else start_id
    if start_id is None or not 0 <= start_id < vocab_size:
        raise InputError(
            f"'{folder}' does not say from which token targets start. Set decoder_start_token_id "
            "in its config.json."
        )
    return start_id
