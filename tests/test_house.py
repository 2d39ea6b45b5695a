"""The rules of the house: imports go one way, starting is quick, files stay readable."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import xunlian

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "xunlian"

# Each folder needs only those above it (docs/architecture.md).
ORDER = [
    "errors",
    "files",
    "console",
    "hub",
    "recipe",
    "report",
    "tokenizer",
    "shards",
    "corpus",
    "machine",
    "data",
    "models",
    "interop",
    "runs",
    "decoding",
    "evaluation",
    "training",
    "studies",
    "commands",
    "cli",
    "__init__",
    "__main__",
]
FILES = sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Parts of Xunlian that a file imports anywhere but under TYPE_CHECKING."""
    tree = ast.parse(path.read_text("utf-8"))
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    names = []
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names.append(f"{node.value.id}.{node.attr}")
    parts = [name.split(".")[1] for name in names if name.startswith("xunlian.")]
    # A public name is imported from its module when it is first used.
    modules = [xunlian._PUBLIC.get(part, f"xunlian.{part}") for part in parts if part[:2] != "__"]
    return {module.split(".")[1] for module in modules}


def test_an_import_is_seen_in_each_of_its_forms(tmp_path):
    (tmp_path / "a.py").write_text(
        "import xunlian.cli\nfrom xunlian import files, translate\n"
        "from xunlian.data.order import Order\nxunlian.score(), xunlian.__version__\n"
    )
    assert imports_of(tmp_path / "a.py") == {"cli", "files", "commands", "data", "evaluation"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_up_the_list_only(path):
    place = ORDER.index(part_of(path))
    for name in imports_of(path):
        assert ORDER.index(name) <= place, f"{path.name} imports {name}, which is below it"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_file_is_longer_than_five_minutes(path):
    assert len(path.read_text("utf-8").splitlines()) <= 500


def test_models_import_nothing_else_of_ours():
    for path in (PACKAGE / "models").glob("*.py"):
        assert imports_of(path) <= {"models"}


def test_nothing_is_ever_unpickled():
    for path in FILES:
        text = path.read_text("utf-8")
        for word in ("torch.load", "import pickle", "pickle.load", "allow_pickle=True"):
            assert word not in text, f"{path} uses {word}"


@pytest.mark.parametrize(
    "code",
    [
        "import xunlian",
        "import xunlian.cli",
        "import xunlian.recipe",
        "import xunlian; xunlian.score",
        "import xunlian.cli; xunlian.cli.main(['--help'])",
    ],
)
def test_starting_imports_nothing_heavy(code):
    check = (
        f"{code}; import sys; print(sorted(set(sys.modules) & {{'torch', 'numpy', 'pyarrow', "
        "'tokenizers', 'matplotlib', 'transformers', 'rich', 'sacrebleu', 'rouge_score', 'nltk'}))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
