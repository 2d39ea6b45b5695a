"""Models of the hub: fetched only when the name says so, and what may go wrong is told."""

from unittest import mock

import huggingface_hub
import pytest
from huggingface_hub import errors

from xunlian.cli import main
from xunlian.errors import InputError, XunlianError
from xunlian.hub import fetch_model
from xunlian.runs.load import load_folder


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What was asked of the hub; it has one model, in the folder `tmp_path`."""
    calls = []

    def snapshot_download(name, **options):
        calls.append((name, options))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    return calls


def failing(monkeypatch, error):
    def snapshot_download(name, **options):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)


def test_a_name_of_the_hub_becomes_a_folder_without_pickles(asked, tmp_path):
    assert load_folder("hf:Qwen/Qwen3-0.6B") == tmp_path
    name, options = asked[0]
    assert (name, options["revision"]) == ("Qwen/Qwen3-0.6B", None)
    assert options["allow_patterns"] == ["*.json", "*.jinja", "model*.safetensors"]


def test_a_revision_stands_behind_the_name(asked):
    fetch_model("hf:Qwen/Qwen3-0.6B@v1.0", weights=False)
    assert asked[0][1]["revision"] == "v1.0"
    assert asked[0][1]["allow_patterns"] == ["*.json", "*.jinja"]


def test_info_takes_the_name(asked, capsys):
    assert main(["info", "hf:Qwen/Qwen3-0.6B"]) == 0
    assert "qwen3" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["Qwen/Qwen3-0.6B", "runs/mine-1"])
def test_a_plain_name_never_asks_the_network(name, asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"hf:{name}"):
        load_folder(name)
    assert asked == []


@pytest.mark.parametrize("name", ["hf:", "hf:Qwen", "hf:a/b/c", "hf:a/b@"])
def test_what_is_no_name_of_the_hub_is_told(name, asked):
    with pytest.raises(InputError, match="hf:Qwen/Qwen3"):
        fetch_model(name)
    assert asked == []


def test_a_model_that_is_not_there_is_the_users_mistake(monkeypatch):
    failing(monkeypatch, errors.RepositoryNotFoundError("not found", response=mock.MagicMock()))
    with pytest.raises(InputError, match="no model 'a/b'"):
        fetch_model("hf:a/b")


@pytest.mark.parametrize(
    "error", [errors.LocalEntryNotFoundError("offline\nand more"), ConnectionError("no network")]
)
def test_without_a_network_it_fails_in_one_line(error, monkeypatch):
    failing(monkeypatch, error)
    with pytest.raises(XunlianError, match="could not be fetched") as caught:
        fetch_model("hf:a/b")
    assert "\n" not in str(caught.value)


def test_an_error_without_words_is_told_by_its_name(monkeypatch):
    failing(monkeypatch, TimeoutError())
    with pytest.raises(XunlianError, match=r"could not be fetched \(TimeoutError\)"):
        fetch_model("hf:a/b")
