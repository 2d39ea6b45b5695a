"""From what a user names, a run or a Hugging Face model folder, to a model ready for use."""

import re
from dataclasses import dataclass, replace
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
)
from xunlian.models.decoder import Decoder
from xunlian.models.encoder_decoder import EncoderDecoder
from xunlian.models.recurrent import RecurrentModel
from xunlian.models.recurrent_pairs import RecurrentPairModel
from xunlian.recipe.load import shipped_recipes
from xunlian.recipe.settings import Decoding
from xunlian.runs.adapted import load_merged
from xunlian.runs.folder import open_run
from xunlian.tokenizer.framing import (
    Frames,
    known_languages,
    model_frames,
    names_both_sides,
)
from xunlian.tokenizer.sides import Sides, load_sides
from xunlian.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class Loaded:
    """A model with what belongs to it: its tokenizers, the tokens that end a text, its settings.

    `start_id` is the token that the targets of an encoder-decoder start from, else None; `frames`
    say how its pairs look, None where it has to be told the languages first (`in_languages`).
    """

    folder: Path
    model: Model
    tokenizers: Sides
    end_ids: frozenset[int]
    decoding: Decoding
    start_id: int | None = None
    frames: Frames | None = None

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
    if tokenizers.vocab_size > model.config.vocab_size < max(t.text_size for t in tokenizers):
        raise InputError(
            f"In '{folder}', the tokenizer has {tokenizers.vocab_size} tokens but the "
            f"model only {model.config.vocab_size}. They do not belong together; copy "
            "them again."
        )
    end_ids = frozenset({tokenizer.end_id, *read_end_ids(folder)})
    loaded = Loaded(folder, model, tokenizers, end_ids, decoding)
    if not isinstance(model, EncoderDecoder | RecurrentPairModel):
        return loaded
    if known_languages(tokenizer, folder) and not names_both_sides(tokenizer):
        return replace(loaded, start_id=tokenizer.end_id)
    return _with_frames(loaded, model_frames(tokenizer, folder, (None, None), ""))


def in_languages(
    loaded: Loaded,
    source: str | None,
    target: str | None,
    how: str = "--source-language and --target-language",
) -> Loaded:
    """The same for sources and targets in these languages; None: those that its files name.

    `how` says, in a message, how a user names them.

    Raises:
        InputError: it does not tell languages apart, has none of that code, or one is missing.
    """
    require_encoder_decoder(loaded)
    if loaded.frames is not None and source is None and target is None:
        return loaded
    if not known_languages(loaded.tokenizer, loaded.folder):
        raise InputError(
            f"'{loaded.folder}' does not tell languages apart: it goes from one to the other. "
            "Name none."
        )
    languages = (source, target)
    return _with_frames(loaded, model_frames(loaded.tokenizer, loaded.folder, languages, how))


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


def _with_frames(loaded: Loaded, frames: Frames) -> Loaded:
    start_id = loaded.tokenizer.pad_id if frames.start_id is None else frames.start_id
    if start_id is None or not 0 <= start_id < loaded.model.config.vocab_size:
        raise InputError(
            f"'{loaded.folder}' does not say from which token targets start. Set "
            "decoder_start_token_id in its config.json."
        )
    return replace(loaded, start_id=start_id, frames=frames._replace(start_id=start_id))
