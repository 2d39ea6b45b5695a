"""Where the texts live that ship with Xunlian: in the wheel, or beside the source."""

from pathlib import Path

import xunlian
from xunlian.errors import InputError, did_you_mean

PREFIX = "sample:"


def samples_folder() -> Path:
    package = Path(xunlian.__file__).parent
    inside = package / "samples"
    return inside if inside.is_dir() else package.parents[1] / "samples"


def resolve_source(source: str) -> str:
    """'sample:NAME' -> the path of that sample; anything else as it is.

    Raises:
        InputError: there is no such sample.
    """
    if not source.startswith(PREFIX):
        return source
    name = source.removeprefix(PREFIX)
    path = samples_folder() / name
    if not path.is_file():
        names = [p.name for p in samples_folder().glob("*") if p.suffix != ".md"]
        raise InputError(
            f"There is no sample '{name}'.{did_you_mean(name, names)} "
            f"There are: {', '.join(sorted(names))}."
        )
    return str(path)
