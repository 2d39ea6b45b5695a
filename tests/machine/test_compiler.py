"""Trial programs are spared only where the compiler knows every set of instructions."""

import pytest
import torch._inductor.config as config

from xunlian.machine.compiler import trust_instruction_sets


@pytest.fixture(autouse=True)
def undecided(monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    with config.patch({"cpp.vec_isa_ok": None}):
        yield


def _compiler(folder, status: int) -> str:
    path = folder / "c++"
    path.write_text(f"#!/bin/sh\nexit {status}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(("status", "trusted"), [(0, True), (1, False)])
def test_a_compiler_that_knows_the_newest_processor_is_trusted(tmp_path, status, trusted):
    assert trust_instruction_sets(_compiler(tmp_path, status)) == trusted
    assert config.cpp.vec_isa_ok == (True if trusted else None)


def test_what_the_user_says_stays(tmp_path):
    config.cpp.vec_isa_ok = False
    assert not trust_instruction_sets(_compiler(tmp_path, 0))
    assert config.cpp.vec_isa_ok is False


def test_without_a_compiler_nothing_is_changed():
    assert not trust_instruction_sets(None)
    assert config.cpp.vec_isa_ok is None
