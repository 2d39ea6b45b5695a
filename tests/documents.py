"""The documentation: which documents there are, and the commands in them."""

import re
import shlex
from collections.abc import Iterator

from conftest import ROOT

RUNNING = [
    "README.md",
    "README.zh.md",
    "docs/align.md",
    "docs/align.zh.md",
    "docs/tutorial.md",
    "docs/tutorial.zh.md",
    "docs/chat.md",
    "docs/chat.zh.md",
    "docs/corpus.md",
    "docs/corpus.zh.md",
    "docs/finetune.md",
    "docs/finetune.zh.md",
    "docs/lora.md",
    "docs/lora.zh.md",
    "docs/plan.md",
    "docs/plan.zh.md",
    "docs/support-chatbot.md",
    "docs/support-chatbot.zh.md",
    "docs/tasks.md",
    "docs/tasks.zh.md",
    "docs/translate.md",
    "docs/translate.zh.md",
    "docs/export.md",
    "docs/export.zh.md",
    "docs/distill.md",
    "docs/distill.zh.md",
    "docs/quality-head.md",
    "docs/quality-head.zh.md",
    "docs/why-transformers.md",
    "docs/why-transformers.zh.md",
]
DOCUMENTS = [
    *RUNNING,
    "docs/models.md",
    "docs/models.zh.md",
    "docs/recipe.md",
    "docs/architecture.md",
    "docs/bench.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
]


def blocks(document: str) -> Iterator[tuple[str, str]]:
    """(language, content) of each fenced block."""
    text = (ROOT / document).read_text("utf-8")
    yield from re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def shell_commands(document: str) -> list[list[str]]:
    """The words of each command in the ```bash blocks."""
    found = []
    for language, content in blocks(document):
        if language == "bash":
            for line in content.replace("\\\n", " ").splitlines():
                if words := shlex.split(line, comments=True):
                    found.append(words)
    return found
