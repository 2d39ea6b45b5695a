"""What the documents name exists, and both languages say the same."""

import re

import pytest
from conftest import ROOT
from documents import DOCUMENTS, RUNNING, blocks, shell_commands

from xunlian.cli import VERBS
from xunlian.recipe.explain import explain


@pytest.mark.parametrize("document", DOCUMENTS)
def test_other_commands_name_what_exists(document):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for words in shell_commands(document):
        if words[0] == "make":
            named = [word for word in words[1:] if "=" not in word]
            assert named and set(named) <= set(targets), words
        elif words[0] == "torchrun":
            after = words[words.index("-m") + 1 :]
            assert after[0] == "xunlian" and after[1] in VERBS, words
        elif words[0] == "xunlian":
            assert words[1] in VERBS, words
        elif words[0].endswith("python"):
            assert (ROOT / words[1]).is_file(), words
        else:
            pytest.fail(f"no check for {words}")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_to_a_file(document):
    text = (ROOT / document).read_text("utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if not target.startswith(("http://", "https://")):
            assert ((ROOT / document).parent / target).exists(), target


def test_the_reference_of_settings_is_what_the_program_prints():
    shown = next(content for language, content in blocks("docs/recipe.md") if language == "text")
    assert shown == explain(), "paste the output of `xunlian recipe --explain` into docs/recipe.md"


def test_the_architecture_names_every_folder():
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    for folder in (ROOT / "src" / "xunlian").iterdir():
        if (folder / "__init__.py").exists():
            assert f"`{folder.name}/`" in text, folder.name


@pytest.mark.parametrize(
    "one, other",
    [(name, name.replace(".md", ".zh.md")) for name in RUNNING if not name.endswith(".zh.md")],
)
def test_both_languages_show_the_same_verbs_in_the_same_order(one, other):
    def verbs(document: str) -> list[str]:
        return [words[1] for words in shell_commands(document) if words[0] == "xunlian"]

    assert verbs(one) == verbs(other)
