"""Compiled code is taken from a folder of this user alone."""

import os

import pytest
import torch._inductor.config as config

from xunlian.machine.compiler_cache import VARIABLE, use_own_cache


@pytest.fixture
def default(monkeypatch, tmp_path):
    """Where PyTorch would keep its code; nothing is there yet."""
    folder = tmp_path / "shared" / "torchinductor_me"
    folder.parent.mkdir()
    monkeypatch.setattr(
        "torch._inductor.runtime.cache_dir_utils.default_cache_dir", lambda: str(folder)
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(VARIABLE, "")
    with config.patch({"cpp_cache_precompile_headers": True}):
        yield folder


@pytest.fixture
def own(tmp_path):
    return tmp_path / "cache" / "xunlian" / "torchinductor"


def test_the_usual_folder_is_made_for_this_user_alone(default):
    assert use_own_cache() == default
    assert default.stat().st_mode & 0o777 == 0o700
    assert os.environ[VARIABLE] == str(default)
    assert use_own_cache() == default  # and taken again
    assert config.cpp_cache_precompile_headers


def test_one_that_others_can_write_is_not_taken(default, own):
    default.mkdir()
    default.chmod(0o777)
    assert use_own_cache() == own
    assert own.stat().st_mode & 0o777 == 0o700 and os.environ[VARIABLE] == str(own)
    assert not config.cpp_cache_precompile_headers


def test_one_that_another_user_made_is_not_taken(default, own, monkeypatch):
    default.mkdir()
    monkeypatch.setattr(os, "getuid", lambda: default.stat().st_uid + 1)
    assert use_own_cache() == own


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_is_no_folder_is_not_taken(default, own, tmp_path, kind):
    if kind == "link":
        (tmp_path / "elsewhere").mkdir()
        default.symlink_to(tmp_path / "elsewhere")
    else:
        default.write_text("")
    assert use_own_cache() == own


def test_one_that_the_user_names_stays(default, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "ours"))
    assert use_own_cache() == tmp_path / "ours"
    assert not default.exists()


def test_what_pytorch_has_set_itself_is_looked_at(default, own, monkeypatch):
    default.mkdir()
    default.chmod(0o777)
    monkeypatch.setenv(VARIABLE, str(default))
    assert use_own_cache() == own
