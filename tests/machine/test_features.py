"""What is missing for compiling is found out from the system, and named."""

import sysconfig

import pytest

from xunlian.machine.features import read_machine


def test_a_path_without_a_compiler_is_noticed(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    machine = read_machine()
    assert machine.compiler is None and not machine.can_compile
    assert "g++" in machine.compile_missing


@pytest.mark.parametrize("name", ["g++", "clang++", "c++"])
def test_any_usual_compiler_is_found(monkeypatch, tmp_path, name):
    (tmp_path / name).write_text("#!/bin/sh\n")
    (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert read_machine().compiler == name


def test_the_compiler_that_the_environment_names_must_exist(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", str(tmp_path / "nowhere"))
    assert read_machine().compiler is None


@pytest.mark.parametrize("there", [True, False])
def test_python_headers_are_looked_for_where_they_belong(monkeypatch, tmp_path, there):
    if there:
        (tmp_path / "Python.h").write_text("")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    machine = read_machine()
    assert machine.python_headers == there
    if not there and machine.compiler:
        assert "Python.h" in machine.compile_missing
