"""From what a user names, a run or a Hugging Face model folder, to a model ready for use."""

from dataclasses import dataclass
from pathlib import Path

from xunlian.errors import InputError, did_you_mean
from xunlian.interop.huggingface import CONFIG_FILE, WEIGHTS_FILE, load_model, read_end_ids
from xunlian.models.decoder import Decoder
from xunlian.recipe.settings import Decoding
from xunlian.runs.folder import open_run
from xunlian.tokenizer.tokenizer import Tokenizer, load_tokenizer


@dataclass(frozen=True)
class Loaded:
    """A model with what belongs to it: its tokenizer, the tokens that end a text, its settings."""

    folder: Path
    model: Decoder
    tokenizer: Tokenizer
    end_ids: frozenset[int]
    decoding: Decoding


def is_run(path: Path | str) -> bool:
    return (Path(path) / "recipe.toml").is_file()


def load_folder(path: Path | str) -> Path:
    """The Hugging Face model folder of a run, or `path` itself when it is one.

    Raises:
        InputError: it is neither, or a run whose training has saved no model yet.
    """
    path = Path(path)
    if is_run(path):
        folder = path / "model"
        if not (folder / CONFIG_FILE).is_file() or not (folder / WEIGHTS_FILE).is_file():
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


def load_run(path: Path | str) -> Loaded:
    """Open the model, tokenizer and settings of a run or of a Hugging Face model folder.

    Raises:
        InputError: it is neither, or something in it is missing, damaged or does not fit.
    """
    folder = load_folder(path)
    decoding = open_run(path).recipe.decoding if is_run(path) else Decoding()
    model = load_model(folder)
    tokenizer = load_tokenizer(folder)
    if tokenizer.vocab_size > model.config.vocab_size:
        raise InputError(
            f"In '{folder}', the tokenizer has {tokenizer.vocab_size} tokens but the "
            f"model only {model.config.vocab_size}. They do not belong together; copy "
            "them again."
        )
    end_ids = frozenset({tokenizer.end_id, *read_end_ids(folder)})
    return Loaded(folder, model, tokenizer, end_ids, decoding)
