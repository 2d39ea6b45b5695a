"""Models of Hugging Face's hub: fetched when, and only when, a name says so: `hf:owner/name`.

    hf:Qwen/Qwen3-0.6B    hf:Qwen/Qwen3-0.6B@main    (a branch, tag or commit behind the @)

They are kept where the hub's own library keeps them (~/.cache/huggingface), and without a network
what is there is taken. Pickled weights are never fetched.
"""

import re
from pathlib import Path

from xunlian.errors import InputError, XunlianError

PREFIX = "hf:"
_NAME = re.compile(r"hf:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
_FILES = ["*.json", "*.jinja"]
_WEIGHTS = ["model*.safetensors"]  # some have the same again in a form of their makers


def is_hub_name(name: Path | str) -> bool:
    return str(name).startswith(PREFIX)


def fetch_model(name: Path | str, *, weights: bool = True) -> Path:
    """The folder of a model on this machine, fetched from the hub where it is not there yet.

    Without `weights`: configuration and tokenizer only.

    Raises:
        InputError: no such name, or no such model on the hub for this user.
        XunlianError: it could not be fetched.
    """
    match = _NAME.fullmatch(str(name))
    if not match:
        raise InputError(f"'{name}' is no name of the hub; write for example hf:Qwen/Qwen3-0.6B.")
    import huggingface_hub
    from huggingface_hub import errors

    try:
        found = huggingface_hub.snapshot_download(
            match[1], revision=match[2], allow_patterns=_FILES + (_WEIGHTS if weights else [])
        )
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"The hub has no model '{match[1]}' for you to read. Look for it on "
            "https://huggingface.co; where it asks for a licence or a login, run `hf auth login`."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"The model '{match[1]}' has no revision '{match[2]}'.") from error
    except errors.HFValidationError as error:
        raise InputError(f"'{name}' is no name of the hub: {error}.") from error
    except Exception as error:  # of the network, in whatever form its libraries give it
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise XunlianError(
            f"'{name}' could not be fetched ({reason}). Try again, or fetch it elsewhere and name "
            "its folder."
        ) from error
    return Path(found)


def local_folder(name: Path | str, *, weights: bool = True) -> Path:
    """The folder that is named, fetched first where it is one of the hub. Raises as fetch_model."""
    return fetch_model(name, weights=weights) if is_hub_name(name) else Path(name)
