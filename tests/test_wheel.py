"""The wheel holds all that a user needs, and works where no checkout is near."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, SAMPLES

import xunlian
from xunlian.recipe.load import shipped_recipes


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from this checkout, with the tools that are installed already: no network."""
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT],
        check=True,
        capture_output=True,
        timeout=120,
    )
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The folder it is installed into, by itself; its dependencies are this environment's."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"),
            *("--no-deps", "--no-index", "--no-compile", "--target", folder, wheel),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    return folder


def run_installed(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python outside the checkout, where only the installed wheel is on the path."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_wheel_holds_every_file_of_the_package_the_samples_and_their_licences(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "src"
    wanted = {
        str(path.relative_to(package))
        for path in (package / "xunlian").rglob("*")
        if path.suffix in (".py", ".toml", ".j2")
    }
    wanted |= {f"xunlian/samples/{path.name}" for path in SAMPLES.iterdir()}
    assert {f"xunlian/recipe/shipped/{name}.toml" for name in shipped_recipes()} <= wanted
    assert "xunlian/report/report.html.j2" in wanted
    assert "xunlian/samples/shakespeare.txt" in wanted and "xunlian/samples/LICENSES.md" in wanted
    assert wanted <= names
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in names)


def test_wheel_holds_nothing_else(wheel):
    for name in zipfile.ZipFile(wheel).namelist():
        assert name.startswith(("xunlian/", f"xunlian-{xunlian.__version__}.dist-info/")), name
        assert "__pycache__" not in name


def test_installed_command_line_lists_recipes_and_prepares_a_sample(installed, tmp_path):
    where = run_installed(installed, tmp_path, "-c", "import xunlian; print(xunlian.__file__)")
    assert Path(where.stdout.strip()).is_relative_to(installed)

    listed = run_installed(installed, tmp_path, "-m", "xunlian", "recipe", "list").stdout
    assert [line.split()[0] for line in listed.splitlines()] == list(shipped_recipes())

    prepared = ["-m", "xunlian", "prepare", "demo-en", "--out", "corpus", "--workers", "1"]
    run_installed(installed, tmp_path, *prepared)
    card = xunlian.info(tmp_path / "corpus")
    size = (SAMPLES / "shakespeare.txt").stat().st_size
    assert sum(source["bytes"] for source in card["sources"]) == size
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]
