"""Whether two tokenizers are the same: a checksum of what a tokenizer.json means.

Formatting, and settings that change no token (truncation, padding), do not count, so a file that
another program has written again keeps its fingerprint. Needs no tokenizer library.
"""

import hashlib
from pathlib import Path

import orjson

from xunlian.errors import InputError

FILE = "tokenizer.json"
TARGET = "target"  # folder of the target's own tokenizer, beside the source's


def fingerprint(tokenizer_json: str | bytes) -> str:
    """SHA-256, in hexadecimal, of the canonical form of a tokenizer.json's text.

    Raises:
        ValueError: it is no JSON object.
    """
    content = orjson.loads(tokenizer_json)
    if not isinstance(content, dict):
        raise ValueError("a tokenizer.json is a JSON object")
    meaning = {k: v for k, v in content.items() if k not in ("version", "truncation", "padding")}
    return hashlib.sha256(orjson.dumps(meaning, option=orjson.OPT_SORT_KEYS)).hexdigest()


def joint_fingerprint(source: str, target: str) -> str:
    """Of two tokenizers, one for each side of pairs, from their fingerprints."""
    return hashlib.sha256(f"{source} {target}".encode()).hexdigest()


def folder_fingerprint(folder: Path) -> str:
    """Of the tokenizer in `folder`, or of both. Raises InputError when missing or damaged."""
    source, target = folder / FILE, folder / TARGET
    if not target.is_dir():
        return file_fingerprint(source)
    return joint_fingerprint(file_fingerprint(source), file_fingerprint(target / FILE))


def file_fingerprint(path: Path) -> str:
    """The fingerprint of a tokenizer.json file. Raises InputError when missing or damaged."""
    try:
        return fingerprint(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"'{path}' is missing.") from error
    except ValueError as error:
        raise InputError(f"'{path}' is damaged: it is not a tokenizer.json ({error}).") from error
