"""Each source says where it is from; what does not, has the corpus's licence."""

from pathlib import Path

import pytest

import xunlian
from xunlian.errors import InputError
from xunlian.recipe.load import load_recipe, to_toml
from xunlian.recipe.settings import Recipe


@pytest.fixture
def texts(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wiki").mkdir()
    for name in ("wiki/a.txt", "wiki/b.txt", "mine.txt"):
        (tmp_path / name).write_text(f"A text of {name}, with a few words in it.\n" * 9, "utf-8")
    return tmp_path


RECIPE = """
[corpus]
licence = "CC0 1.0"
documents = "line"
val = "0"
sources = [
  {path = "wiki", name = "Wikipedia", licence = "CC BY-SA 4.0", url = "https://example.org/w"},
  "mine.txt",
]
[tokenizer]
kind = "byte"
"""


def test_card_and_report_say_it_of_each_file(texts: Path) -> None:
    Path("r.toml").write_text(RECIPE, "utf-8")
    corpus = xunlian.prepare("r.toml", out="out")
    wiki = {"origin": "Wikipedia", "licence": "CC BY-SA 4.0", "url": "https://example.org/w"}
    size = len("A text of wiki/a.txt, with a few words in it.\n") * 9
    assert corpus.card["sources"] == [
        {"name": "wiki/a.txt", "bytes": size, **wiki},
        {"name": "wiki/b.txt", "bytes": size, **wiki},
        {"name": "mine.txt", "bytes": size - 18, "licence": "CC0 1.0"},
    ]
    page = (corpus.path / "report.html").read_text("utf-8")
    assert '<a href="https://example.org/w" rel="noreferrer">Wikipedia</a>' in page
    assert "<td>CC BY-SA 4.0</td>" in page and "<td>CC0 1.0</td>" in page


def test_the_sources_of_a_mixture_have_theirs(texts: Path) -> None:
    mixture = (
        'corpus.mixture=[{name = "w", sources = ["wiki"], weight = 1, licence = "GFDL"}, '
        '{name = "m", sources = ["mine.txt"], weight = 1}]'
    )
    corpus = xunlian.prepare(
        out="out", tokenizer="byte", val=0, overrides=[mixture, "corpus.licence=MIT"]
    )
    said = [(row["origin"], row["licence"]) for row in corpus.card["sources"]]
    assert said == [("w", "GFDL"), ("w", "GFDL"), ("m", "MIT")]


def test_the_files_of_pairs_have_theirs(texts: Path) -> None:
    for name in ("t.en", "t.de"):
        Path(name).write_text("".join(f"Line {i} of {name}.\n" for i in range(40)), "utf-8")
    corpus = xunlian.prepare(
        out="out",
        pairs=True,
        tokenizer="byte",
        overrides=['corpus.sources=[{path = "t.en", licence = "CC BY 2.0"}, "t.de"]'],
    )
    assert [row.get("licence") for row in corpus.card["sources"]] == ["CC BY 2.0", None]


def test_a_recipe_with_such_sources_is_written_and_read_again() -> None:
    import tomllib

    recipe = load_recipe(Recipe(), ['corpus.sources=["a", {path = "b", licence = "MIT"}]'])
    assert recipe.corpus.source_paths == ("a", "b")
    assert Recipe.model_validate(tomllib.loads(to_toml(recipe))).corpus == recipe.corpus


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ('[{pth = "a"}]', "corpus.sources.path"),
        ('[{path = "a", weight = 2}]', "unknown key 'corpus.sources.weight'"),
        ('[{path = "a", url = "javascript:alert(1)"}]', "corpus.sources.url"),
    ],
)
def test_a_mistake_in_a_source_names_its_key(sources: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_recipe(Recipe(), [f"corpus.sources={sources}"])
