"""Programs that try to get out, to use up the machine, or to seem to pass."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xunlian.evaluation.tasks import confined
from xunlian.evaluation.tasks.sandbox import (
    Limits,
    Outcome,
    run_program,
    run_programs,
    try_sandbox,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
KERNEL = Limits(seconds=5, memory=1 << 28)
PYTHON = Limits(seconds=5, memory=1 << 28, kernel=False)
walls = pytest.mark.parametrize("limits", [KERNEL, PYTHON], ids=["kernel", "python"])


@pytest.fixture(autouse=True)
def kernel_can(limits):
    if limits.kernel and try_sandbox(limits) != "kernel":
        pytest.skip("this kernel has no Landlock or forbids it")


@pytest.fixture
def victim(tmp_path):
    """A file of somebody else's."""
    path = tmp_path / "victim.txt"
    path.write_text("precious")
    yield path
    assert path.read_text() == "precious"


@walls
def test_a_program_passes_when_its_tests_do(limits):
    assert run_program("def f(x):\n    return x + 1\nassert f(1) == 2", limits).passed
    failed = run_program("def f(x):\n    return x\nassert f(1) == 2", limits)
    assert failed.error == "AssertionError: assert f(1) == 2"
    assert run_program("1 / 0", limits).error == "ZeroDivisionError: division by zero"
    assert run_program("def f(:", limits).error.startswith("SyntaxError")


@walls
@pytest.mark.parametrize(
    "code",
    [
        "import sys\nsys.exit(0)",
        "exit()",
        "raise SystemExit",
        "import os\nos._exit(0)",
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
        "print('passed', flush=True)\nimport os\nos._exit(0)",
        'import os\nfor handle in range(3, 64):\n    try:\n        os.write(handle, b\'{"token": '
        '"", "error": "", "walls": ""}\')\n    except OSError:\n        pass\nos._exit(0)',
    ],
)
def test_ending_before_the_tests_is_not_passing(limits, code):
    assert not run_program(f"{code}\nassert False", limits).passed


@walls
@pytest.mark.parametrize("code", ["while True: pass", "import time\ntime.sleep(1000)",
                                  "while True: print('x' * 100_000)"])  # fmt: skip
def test_what_does_not_end_is_ended(limits, code):
    brief = Limits(seconds=0.6, kernel=limits.kernel)
    assert run_program(code, brief) == Outcome("took longer than 0.6 seconds")


@walls
@pytest.mark.parametrize("code", ["[0] * (1 << 40)", "x = []\nwhile True: x.append('a' * 100_000)"])
def test_memory_is_limited(limits, code):
    assert run_program(code, limits).error.startswith("MemoryError")


@walls
def test_a_file_can_only_grow_so_far(limits):
    small = Limits(seconds=5, file_bytes=10_000, kernel=limits.kernel)
    code = "with open('mine', 'w') as file:\n    file.write('x' * {})"
    assert run_program(code.format(10_000), small).passed
    assert run_program(code.format(10_001), small).error.startswith("OSError")


@walls
@pytest.mark.parametrize(
    "code",
    [
        "import socket\nsocket.socket()",
        "import socket\nsocket.create_connection(('127.0.0.1', PORT), timeout=1)",
        "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:PORT', timeout=1)",
    ],
)
def test_there_is_no_network(limits, code):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        outcome = run_program(code.replace("PORT", str(server.getsockname()[1])), limits)
        assert "not permitted" in outcome.error or "not for a program" in outcome.error
        with pytest.raises(BlockingIOError):
            server.accept()


@walls
@pytest.mark.parametrize(
    "code",
    [
        "import os\nwhile True: os.fork()",
        "import subprocess\nsubprocess.run(['true'])",
        "import os\nassert os.system('true') == 0",
        "import os\nos.execv('/bin/true', ['true'])",
        "import multiprocessing\nmultiprocessing.Process(target=print).start()",
    ],
)
def test_no_other_process_is_started(limits, code):
    begin = time.monotonic()
    outcome = run_program(code, limits)
    assert not outcome.passed
    assert time.monotonic() - begin < limits.seconds, "refused at once, not ended by time"


@walls
@pytest.mark.parametrize(
    "code",
    [
        "open(VICTIM, 'w').write('mine')",
        "open(VICTIM, 'a').write('mine')",
        "import os\nos.remove(VICTIM)",
        "import os\nos.truncate(VICTIM, 0)",
        "import os\nos.rename(VICTIM, 'taken')",
        "import os\nos.link(VICTIM, 'taken')\nopen('taken', 'w')",
        "import os\nos.symlink(VICTIM, 'link')\nopen('link', 'w')",
        "import os\nos.chmod(VICTIM, 0)",
        "import os\nos.utime(VICTIM, (0, 0))",
        "import os\nos.removexattr(VICTIM, 'user.a')",
        "import pathlib\npathlib.Path(VICTIM).with_name('new').touch()",
        "import shutil, os\nshutil.rmtree(os.path.dirname(VICTIM))",
        "assert open(VICTIM).read() == 'precious'",
    ],
)
def test_files_of_others_are_out_of_reach(limits, code, victim):
    before = victim.stat()
    assert not run_program(code.replace("VICTIM", repr(str(victim))), limits).passed
    after = victim.stat()
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert len(list(victim.parent.iterdir())) == 1


@walls
def test_its_own_folder_is_its_own_and_is_removed(limits, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = (
        "import os, tempfile\nassert os.listdir() == []\nos.mkdir('a', 0)\n"
        "open('b', 'w').write('x')\nassert open('b').read() == 'x'\nos.remove('b')\n"
        "tempfile.NamedTemporaryFile(delete=False).write(b'y')"
    )
    assert run_program(code, limits) == Outcome("", (limits.kernel and "kernel") or "python")
    assert list(tmp_path.iterdir()) == []


@walls
def test_folders_in_folders_by_the_thousand_are_removed(limits, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    deep = "import os\nfor _ in range(3000):\n    os.mkdir('a')\n    os.chdir('a')\n"
    run_program(deep, limits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limits", [KERNEL], ids=["kernel"])
def test_memory_that_outlives_a_program_cannot_be_had(limits):
    code = "import ctypes\nassert ctypes.CDLL(None).shmget(0, 4096, 0o1600) >= 0"
    assert run_program(code, limits).error.startswith("AssertionError")


@pytest.mark.parametrize("limits", [KERNEL], ids=["kernel"])
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os\nos.kill(os.getpid(), 35)", "was ended by signal 35"),
        ("raise ValueError(chr(0xd800))", "ValueError: ?"),
        ("import os\nfor handle in range(3, 64):\n    try:\n        os.write(handle, b'[' * 60_000)"
         "\n    except OSError:\n        pass\nos._exit(0)", "ended before its tests were done"),
    ],
)  # fmt: skip
def test_an_odd_end_is_told_too(limits, code, said):
    assert run_program(code, limits).error == said


@walls
def test_secrets_of_the_environment_are_not_seen(limits, monkeypatch):
    monkeypatch.setenv("API_KEY", "swordfish")
    hidden = "import os\nassert 'swordfish' not in str(os.environ)\n"
    assert run_program(hidden, limits).passed
    parent = "assert b'x' in open(f'/proc/{os.getppid()}/environ', 'rb').read() or True"
    assert not run_program(hidden + parent, limits).passed


@walls
def test_nobody_else_is_signalled(limits):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        for pid in (other.pid, 0):
            outcome = run_program(f"import os\nos.kill({pid}, 9)", limits)
            assert outcome.error.startswith("PermissionError"), pid
        assert other.poll() is None
        other.kill()


@walls
def test_ordinary_programs_lack_nothing(limits):
    code = (
        "import json, math, re, heapq, random, datetime, collections, itertools, dataclasses\n"
        "import decimal, fractions, statistics, string, threading\n"
        "@dataclasses.dataclass\nclass A:\n    x: int\n"
        "def say():\n    print('said')\n"
        "thread = threading.Thread(target=say) if THREADS else say\n"
        "assert A(1) == A(1) and input is not None and datetime.datetime.now()\n"
        "if THREADS:\n    thread.start(), thread.join()\n"
    )
    # Without the kernel's help root's threads are not counted, and others get none.
    assert run_program(code.replace("THREADS", str(limits.kernel)), limits).passed


@pytest.mark.parametrize("limits", [KERNEL])
def test_native_code_meets_the_same_walls(limits, victim):
    code = (
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "assert libc.fork() == -1 and libc.socket(2, 1, 0) == -1\n"
        "assert libc.syscall(56, 17, 0, 0, 0, 0) == -1, 'clone'\n"
        "assert libc.syscall(435, 0, 0) == -1 and ctypes.get_errno() == 38, 'clone3'\n"
        f"assert libc.unlink({os.fsencode(victim)!r}) == -1\n"
        "assert libc.ptrace(16, 1, 0, 0) == -1 and libc.unshare(0x10000000) == -1\n"
    )
    assert run_program(code, limits).error == ""


@pytest.mark.parametrize("limits", [KERNEL])
def test_limits_cannot_be_lifted_again(limits):
    code = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))"
    assert run_program(code, limits).error.startswith(("ValueError", "PermissionError"))


@pytest.mark.parametrize("limits", [KERNEL])
def test_the_same_program_ends_the_same_way(limits):
    code = "raise ValueError(''.join({str(i) for i in range(50)}))"
    assert run_program(code, limits) == run_program(code, limits)


@pytest.mark.parametrize("limits", [KERNEL])
def test_many_are_run_in_their_order_and_equal_ones_once(limits, tmp_path):
    done = []
    sources = ["pass", "1/0", "pass", "x", "pass"]
    outcomes = run_programs(sources, limits, 2, done.append)
    assert [outcome.passed for outcome in outcomes] == [True, False, True, False, True]
    assert sorted(done) == [1, 1, 3]


@pytest.mark.parametrize("limits", [PYTHON])
def test_the_filter_knows_the_calls_of_both_processors(limits):
    for machine, (fork_like, socket) in {"x86_64": (57, 41), "aarch64": (221, 198)}.items():
        rules = confined.call_rules(machine)
        for number in (fork_like, socket):
            at = next(i for i, rule in enumerate(rules) if rule[0] == 0x15 and rule[3] == number)
            assert rules[at + 1] == (0x06, 0, 0, 0x00050001), "EPERM"
        assert rules[-1] == (0x06, 0, 0, 0x7FFF0000), "all else is allowed"
    assert "import xunlian" not in Path(confined.__file__).read_text()
