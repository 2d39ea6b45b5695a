"""Libraries that only some of the stages need; they come with an extra of the package."""

import importlib
from types import ModuleType

from xunlian.errors import InputError


def need(module: str, extra: str) -> ModuleType:
    """The module, imported now.

    Raises:
        InputError: it is not installed; the message says which extra brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"'{module}' is not installed. Get it: pip install \"xunlian[{extra}]\""
        ) from error
