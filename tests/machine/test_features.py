"""What the system tells: what is missing for compiling, by name, and the memory that is free."""

import os
import subprocess
import sys
import sysconfig

import pytest

from xunlian.machine import features
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


def test_pages_of_files_in_a_control_group_count_as_free(monkeypatch):
    group = features.CGROUP
    files = {
        "/proc/meminfo": "MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n",
        f"{group}/memory.max": "4000000000\n",
        f"{group}/memory.current": "3900000000\n",
        f"{group}/memory.stat": "anon 7\nactive_file 300000000\ninactive_file 500000000\n",
    }
    monkeypatch.setattr(features, "_read", lambda path: files.get(path, ""))
    assert features.available_memory() == 900_000_000
    files[f"{group}/memory.max"] = "max\n"  # no limit
    assert features.available_memory() == 8_000_000 * 1024


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("AMD EPYC 9654 96-Core Processor", "AMD EPYC 9654 96-Core Processor"),
        ("AMD EPYC", "AMD EPYC (family 25, model 17)"),
        ("Intel(R) Xeon(R) @ 2.70GHz", "Intel(R) Xeon(R) @ 2.70GHz (family 25, model 17)"),
    ],
)
def test_a_name_that_hides_the_generation_gets_family_and_model(monkeypatch, told, name):
    cpuinfo = f"cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: {told}\nflags\t\t: avx2 sse\n"
    monkeypatch.setattr(features, "_read", lambda path: cpuinfo)
    machine = read_machine()
    assert machine.processor == name and machine.features == ("avx2",)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")
@pytest.mark.parametrize("binding", [{"OMP_PROC_BIND": "close"}, {"OMP_PLACES": "threads"}])
def test_all_cores_are_used_where_openmp_binds_threads(binding):
    program = (
        "import os, torch; from xunlian.machine.features import available_cores;"
        "print(torch.get_num_threads(), len(os.sched_getaffinity(0)), available_cores())"
    )
    free = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}

    def run(environment):
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=environment, capture_output=True, check=True, text=True)
        return [int(number) for number in done.stdout.split()]

    threads, _, _ = run(free)
    _, seen, found = run(free | binding)
    assert found == threads
    assert seen == 1 or seen < len(os.sched_getaffinity(0))  # else this has shown nothing
