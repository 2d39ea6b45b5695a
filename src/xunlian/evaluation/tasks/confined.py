"""Run as a script by sandbox.py: gives up its rights, then runs the program that it is sent.

Nothing of Xunlian is imported here, so that a start takes some hundredths of a second.

Notable ideas:
- On Linux the kernel holds the walls, and nothing that the program does afterwards moves them:
  Landlock (https://docs.kernel.org/userspace-api/landlock.html) lets it read what Python consists
  of, and read and write its own folder; a filter of system calls (seccomp) refuses sockets, new
  processes, signals to others and whatever changes rights. Neither needs root or a container.
- Elsewhere an audit hook (PEP 578) refuses the same things to Python code; native code that the
  program loads is not stopped by it.
- That a program passed is told with a secret that stands in no file, after its last line. Ending
  early, in whatever way, is not passing. It is no proof against a program that searches its own
  interpreter for the secret.
"""

import contextlib
import ctypes
import json
import os
import platform
import resource
import signal
import struct
import sys
import types
from collections.abc import Iterator
from typing import Any

Rules = list[tuple[int, int, int, int]]
"""Instructions of the kernel's packet filter: operation, jump if true, jump if false, operand."""

# Numbers of system calls: (x86_64, aarch64); above 1000 where there is no such call.
_REFUSED = {
    "fork": (57, 1079), "vfork": (58, 1071), "execve": (59, 221), "execveat": (322, 281),
    "socket": (41, 198), "io_uring_setup": (425, 425), "unshare": (272, 97), "setns": (308, 268),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "setpriority": (141, 140),
    "ioprio_set": (251, 30), "sched_setaffinity": (203, 122), "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274), "truncate": (76, 45), "chmod": (90, 1028), "fchmod": (91, 52),
    "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, 1029), "fchown": (93, 55),
    "lchown": (94, 1032), "fchownat": (260, 54), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "setxattrat": (463, 463), "add_key": (248, 217),
    "request_key": (249, 218), "keyctl": (250, 219), "bpf": (321, 280), "userfaultfd": (323, 282),
    "perf_event_open": (298, 241), "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195),
    "semget": (64, 190), "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192),
    "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187),
    "mq_open": (240, 180), "mq_unlink": (241, 181), "utime": (132, 1132), "utimes": (235, 1235),
    "futimesat": (261, 1261), "utimensat": (280, 88), "removexattr": (197, 14),
    "lremovexattr": (198, 15), "fremovexattr": (199, 16), "removexattrat": (466, 466),
}  # fmt: skip
_CLONE, _CLONE3, _KILL, _TGKILL, _PRLIMIT = (56, 220), (435, 435), (62, 129), (234, 131), (302, 261)
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column, AUDIT_ARCH_*
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _EPERM, _ENOSYS, _END = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
_CLONE_THREAD = 0x10000

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38

# Rights of Landlock, by bit: those on files, and the first version of it that knows all.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 1, 2, 4, 8, 1 << 14
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}


def main() -> None:
    request = json.loads(sys.stdin.buffer.read())
    sys.stdin.close()
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115
    limit(request["seconds"], request["memory"], request["file_bytes"])
    walls = confine(os.getcwd(), allow_kernel=request["kernel"])
    run(request["source"], request["token"], request["result"], walls)


def run(source: str, token: str, result: int, walls: str) -> None:
    """Run a program and tell, through the pipe `result`, that it came to its end, or why not."""
    write, leave, encode = os.write, os._exit, json.dumps
    module = types.ModuleType("__program__")
    sys.modules["__program__"] = module
    error = ""
    try:
        exec(compile(source, "program.py", "exec"), module.__dict__)
    except BaseException as caught:  # SystemExit, too: it ended before its tests
        error = describe(caught, source)
    write(result, encode({"token": token, "error": error, "walls": walls}).encode())
    leave(0)


def describe(caught: BaseException, source: str) -> str:
    """The kind of an error and its words; of a failed assertion, which one it is."""
    words = ""
    with contextlib.suppress(Exception):
        words = str(caught)
        trace = caught.__traceback__
        while not words and trace:
            if trace.tb_frame.f_code.co_filename == "program.py":
                line = source.splitlines()[trace.tb_lineno - 1].strip()
            trace = trace.tb_next
            words = "" if trace else line
    return f"{type(caught).__name__}: {words}"[:300]


def limit(seconds: float, memory: int, file_bytes: int) -> None:
    """Time of the processor, address space, size of a file, open files; no core dumps."""
    for name, value in (
        ("RLIMIT_CPU", int(seconds) + 1),
        ("RLIMIT_AS", memory),
        ("RLIMIT_FSIZE", file_bytes),
        ("RLIMIT_NOFILE", 64),
        ("RLIMIT_CORE", 0),
    ):
        with contextlib.suppress(ValueError, OSError, AttributeError):  # macOS lacks some
            resource.setrlimit(getattr(resource, name), (value, value))


def confine(work: str, allow_kernel: bool = True) -> str:
    """Give up all rights but those on `work`. Returns who holds the walls: kernel or python."""
    if allow_kernel and sys.platform == "linux" and platform.machine() in _MACHINES:
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            _prctl(libc, _PR_SET_PDEATHSIG, signal.SIGKILL)
            _drop_capabilities(libc)
            _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
            _restrict_files(libc, work)
            _filter_calls(libc)
            return "kernel"
        except OSError:
            pass  # an old kernel, or a container that forbids it
    with contextlib.suppress(ValueError, OSError, AttributeError):
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))  # neither processes nor threads
    sys.addaudithook(refusing(work))
    return "python"


def readable() -> list[str]:
    """Folders and files that Python, its libraries and the dynamic linker read."""
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    named = [sys.prefix, sys.base_prefix, sys.exec_prefix, "/usr", "/lib", "/lib64", "/nix/store",
             "/etc/ld.so.cache", "/etc/localtime", *libraries]  # fmt: skip
    return [path for path in dict.fromkeys(named) if path and os.path.exists(path)]


def _check(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result


def _prctl(libc: Any, option: int, value: int, pointer: Any = 0) -> None:
    long = ctypes.c_ulong
    _check(libc.prctl(option, long(value), pointer or long(0), long(0), long(0)))


def _drop_capabilities(libc: Any) -> None:
    """Root without its powers is an ordinary user that owns root's files."""
    header = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0))
    _check(libc.capset(header, ctypes.create_string_buffer(24)))


def _restrict_files(libc: Any, work: str) -> None:
    """Landlock: read `readable()`, do as it likes in `work`, nothing else."""
    version = _check(libc.syscall(444, None, ctypes.c_size_t(0), 1))
    rights = _RIGHTS[max(known for known in _RIGHTS if known <= version)]
    # From version 4 on it also refuses TCP, from 6 on signals and sockets of others.
    attributes = struct.pack("QQQ", rights, 3, 3)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = _check(libc.syscall(444, attributes, ctypes.c_size_t(len(attributes)), 0))
    devices = ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"]
    allowed = dict.fromkeys(readable(), _READ_FILE | _READ_DIR)
    allowed |= dict.fromkeys(devices, _READ_FILE | _WRITE_FILE)
    for path, some in {**allowed, work: rights & ~_EXECUTE}.items():
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        on_files = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
        given = some & rights & (~0 if os.path.isdir(path) else on_files)
        rule = struct.pack("=Qi", given, handle)
        _check(libc.syscall(445, ruleset, 1, rule, 0))
        os.close(handle)
    _check(libc.syscall(446, ruleset, 0))
    os.close(ruleset)


def _filter_calls(libc: Any) -> None:
    """seccomp: sockets, new processes, signals to others and changes of rights are refused."""
    rules = b"".join(struct.pack("HBBI", *rule) for rule in call_rules(platform.machine()))
    code = ctypes.create_string_buffer(rules, len(rules))
    program = struct.pack("HxxxxxxP", len(rules) // 8, ctypes.addressof(code))
    _prctl(libc, _PR_SET_SECCOMP, 2, ctypes.create_string_buffer(program, len(program)))


def call_rules(machine: str) -> Rules:
    """The filter as instructions (https://www.kernel.org/doc/html/latest/userspace-api/
    seccomp_filter.html)."""
    column, arch = _MACHINES[machine]
    rules: Rules = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _END), (_LOAD, 0, 0, 0)]
    if machine == "x86_64":  # the numbers of its 32-bit pointers' form
        rules += [(_AT_LEAST, 0, 1, 0x40000000), (_RETURN, 0, 0, _EPERM)]
    for numbers in _REFUSED.values():
        rules += [(_EQUAL, 0, 1, numbers[column]), (_RETURN, 0, 0, _EPERM)]
    # The C library then asks for a thread by `clone`, whose flags can be read here.
    rules += [(_EQUAL, 0, 1, _CLONE3[column]), (_RETURN, 0, 0, _ENOSYS)]
    for numbers, test, value in (
        (_CLONE, _ANY_BIT, _CLONE_THREAD),
        (_KILL, _EQUAL, os.getpid()),
        (_TGKILL, _EQUAL, os.getpid()),
        (_PRLIMIT, _EQUAL, 0),
    ):
        rules += [
            (_EQUAL, 0, 4, numbers[column]),
            (_LOAD, 0, 0, 16),  # the first argument
            (test, 0, 1, value),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _EPERM),
        ]
    return [*rules, (_RETURN, 0, 0, _ALLOW)]


def refusing(work: str) -> Any:
    """An audit hook that refuses to Python code what the kernel refuses elsewhere."""
    inside = os.path.join(os.path.realpath(work), "")
    may_read = [os.path.join(os.path.realpath(path), "") for path in readable()]
    never = ("socket.", "subprocess.", "pty.", "ctypes.dlopen", "os.system", "os.exec", "os.fork",
             "os.posix_spawn", "os.spawn", "os.kill", "os.setxattr", "os.removexattr")  # fmt: skip
    changing = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink",
                "os.truncate", "os.chmod", "os.chown", "os.utime", "shutil.")  # fmt: skip

    def paths(arguments: tuple[Any, ...]) -> Iterator[str]:
        for argument in arguments:
            if isinstance(argument, (str, bytes, os.PathLike)):
                yield os.path.join(os.path.realpath(os.fsdecode(argument)), "")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(never):
            raise PermissionError(f"{event} is not for a program in a sandbox")
        if event == "open" and not isinstance(arguments[0], int):
            writes = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            allowed = (inside,) if writes else (inside, *may_read)
            for path in paths(arguments[:1]):
                if not path.startswith(allowed) and path != "/dev/null/":
                    raise PermissionError(f"{path.rstrip('/')} is outside of the sandbox")
        elif event.startswith(changing):
            for path in paths(arguments):
                if not path.startswith(inside):
                    raise PermissionError(f"{path.rstrip('/')} is outside of the sandbox")

    return hook


if __name__ == "__main__":
    main()
