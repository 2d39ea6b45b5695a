"""Files of a recipe are fetched when asked for, whole and checked, or not at all."""

import hashlib
import io
import urllib.error
import urllib.request

import pytest

import xunlian
from xunlian import cli
from xunlian.corpus.reading import download
from xunlian.errors import InputError, XunlianError
from xunlian.recipe.load import load_recipe, shipped_recipes, to_toml
from xunlian.recipe.settings import Corpus

SIDES = {
    "a.en": "".join(f"the word number {i}\n" for i in range(60)).encode(),
    "a.de": "".join(f"das Wort Nummer {i}\n" for i in range(60)).encode(),
}


def entry(name, data, host="example.org"):
    return f"https://{host}/data/{name} {len(data)} {hashlib.sha256(data).hexdigest()}"


class Network:
    """Answers for addresses, and counts who asked."""

    def __init__(self, files):
        self.files, self.asked = files, []

    def __call__(self, url, timeout=None):
        self.asked.append(url)
        name = url.rsplit("/", 1)[1]
        if name not in self.files:
            raise urllib.error.URLError("no route to host")
        answer = io.BytesIO(self.files[name])
        answer.geturl = lambda: url
        return answer


@pytest.fixture
def network(monkeypatch):
    found = Network(dict(SIDES))
    monkeypatch.setattr(urllib.request, "urlopen", found)
    return found


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A recipe whose files are public, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "words.toml"
    listed = ", ".join(f'"{entry(name, data)}"' for name, data in SIDES.items())
    path.write_text(
        'task = "translation"\n[corpus]\nsources = ["got/a.en", "got/a.de"]\nval = "0.1"\n'
        f"download = [{listed}]\n"
    )
    return path


def nothing_left(tmp_path):
    got = tmp_path / "got"
    return not got.exists() or not list(got.iterdir())


def test_files_are_fetched_on_request_and_prepared(recipe, network, tmp_path):
    corpus = xunlian.prepare(recipe, out="corpus", download=True)
    assert corpus.split_card("train")["pairs"] + corpus.split_card("val")["pairs"] == 60
    assert {p.name: p.read_bytes() for p in (tmp_path / "got").iterdir()} == SIDES
    xunlian.prepare(recipe, out="again", download=True)
    xunlian.prepare(recipe, out="third")
    assert len(network.asked) == 2  # what is there is not fetched again


def test_without_the_word_nothing_is_fetched_and_one_line_says_what_to_do(
    recipe, network, tmp_path, capsys
):
    for command in (["prepare", str(recipe), "--out", "corpus"], ["train", str(recipe)]):
        assert cli.main(command) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and "'got/a.en' and 1 more are not there" in err
        assert "a.en, a.de into 'got'" in err and "--download" in err and "example.org" in err
        assert "corpus.sources=" in err
    assert network.asked == [] and [p.name for p in tmp_path.iterdir()] == ["words.toml"]


def test_sources_of_ones_own_need_no_download(recipe, network, tmp_path):
    for name, data in SIDES.items():
        (tmp_path / name).write_bytes(data)
    xunlian.prepare(recipe, out="corpus", overrides=['corpus.sources=["a.en", "a.de"]'])
    assert network.asked == []


@pytest.mark.parametrize(
    "answer, words",
    [
        (SIDES["a.de"].replace(b"Wort", b"Wert"), "another checksum"),
        (SIDES["a.de"][:-5], "bytes, not"),
        (SIDES["a.de"] + b"more", "more than"),
        (None, "no route to host"),
    ],
)
def test_what_is_not_the_file_is_not_kept(answer, words, recipe, network, tmp_path, capsys):
    if answer is None:
        del network.files["a.de"]
    else:
        network.files["a.de"] = answer
    assert cli.main(["prepare", str(recipe), "--out", "corpus", "--download"]) == 1
    err = capsys.readouterr().err.splitlines()[-1]
    assert words in err and "example.org/data/a.de" in err
    assert [p.name for p in (tmp_path / "got").iterdir()] == ["a.en"]  # whole and checked
    assert not (tmp_path / "corpus").exists()


def test_a_way_that_leaves_https_is_not_gone(recipe, network, tmp_path, monkeypatch):
    def redirected(url, timeout=None):
        answer = io.BytesIO(SIDES["a.en"])
        answer.geturl = lambda: url.replace("https", "http")
        return answer

    monkeypatch.setattr(urllib.request, "urlopen", redirected)
    with pytest.raises(XunlianError, match="not https"):
        xunlian.prepare(recipe, out="corpus", download=True)
    assert nothing_left(tmp_path)


@pytest.mark.parametrize("bad", ["http://x/a 1 " + "0" * 64, "https://x/a", "https://x/a 1 abc"])
def test_an_entry_must_be_https_with_size_and_checksum(bad):
    with pytest.raises(ValueError, match="https://ADDRESS BYTES SHA256"):
        Corpus(download=(bad,))


def test_a_recipe_without_addresses_has_nothing_to_fetch(tmp_path):
    text = tmp_path / "a.txt"
    text.write_text("words " * 2000)
    with pytest.raises(InputError, match="nothing to fetch"):
        xunlian.prepare(text, out=tmp_path / "corpus", download=True)


def test_shipped_recipes_fetch_only_what_they_read():
    fetching = 0
    for name in shipped_recipes():
        corpus = load_recipe(name).corpus
        files = download.missing(corpus)
        assert len(files) == len(corpus.download), name
        fetching += len(files) > 0
        assert load_recipe(load_recipe(name)).corpus == corpus and "download" in to_toml(
            load_recipe(name)
        )
    assert fetching >= 3


@pytest.mark.parametrize("path", ["/tmp/a.en", "../a.en", ".git/a.en", "got/.a.en"])
def test_a_recipe_fetches_below_this_folder_only(path):
    name = path.rsplit("/", 1)[1]
    corpus = Corpus(sources=[path], download=[entry(name, b"x")])
    with pytest.raises(InputError, match="It fetches into this folder only"):
        download.missing(corpus)
