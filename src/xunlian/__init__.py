"""Xunlian 迅练: train a language model of your own from raw text, fast."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Public name -> the module that has it. Nothing is imported before it is used, so that
# `import xunlian` and `xunlian --help` answer at once.
_PUBLIC = {
    "XunlianError": "xunlian.errors",
    "InputError": "xunlian.errors",
    "Recipe": "xunlian.recipe",
    "load_recipe": "xunlian.recipe",
    "prepare": "xunlian.commands.prepare",
    "classifier": "xunlian.commands.classifier",
    "plan": "xunlian.commands.plan",
    "tune": "xunlian.commands.tune",
    "train": "xunlian.commands.train",
    "evaluate": "xunlian.commands.evaluate",
    "generate": "xunlian.commands.generate",
    "load": "xunlian.commands.generate",
    "chat": "xunlian.commands.chat",
    "translate": "xunlian.commands.translate",
    "summarize": "xunlian.commands.summarize",
    "backtranslate": "xunlian.commands.backtranslate",
    "export": "xunlian.commands.export",
    "merge": "xunlian.commands.merge",
    "compare": "xunlian.commands.compare",
    "info": "xunlian.commands.info",
    "doctor": "xunlian.commands.doctor",
    "score": "xunlian.evaluation.scores",
}

__all__ = [
    "InputError",
    "Recipe",
    "XunlianError",
    "__version__",
    "backtranslate",
    "chat",
    "classifier",
    "compare",
    "doctor",
    "evaluate",
    "export",
    "generate",
    "info",
    "load",
    "load_recipe",
    "merge",
    "plan",
    "prepare",
    "score",
    "summarize",
    "train",
    "translate",
    "tune",
]

if TYPE_CHECKING:
    from xunlian.commands.backtranslate import backtranslate
    from xunlian.commands.chat import chat
    from xunlian.commands.classifier import classifier
    from xunlian.commands.compare import compare
    from xunlian.commands.doctor import doctor
    from xunlian.commands.evaluate import evaluate
    from xunlian.commands.export import export
    from xunlian.commands.generate import generate, load
    from xunlian.commands.info import info
    from xunlian.commands.merge import merge
    from xunlian.commands.plan import plan
    from xunlian.commands.prepare import prepare
    from xunlian.commands.summarize import summarize
    from xunlian.commands.train import train
    from xunlian.commands.translate import translate
    from xunlian.commands.tune import tune
    from xunlian.errors import InputError, XunlianError
    from xunlian.evaluation.scores import score
    from xunlian.recipe import Recipe, load_recipe


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'xunlian' has no attribute '{name}'")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
