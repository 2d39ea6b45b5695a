"""What this computer is made of: processor, cores, memory, accelerators, compiler."""

import os
import platform
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """Facts read from the system, nothing measured."""

    processor: str
    cores: int
    memory: int
    features: tuple[str, ...]
    accelerators: tuple[str, ...]
    compiler: str | None
    python_headers: bool

    @property
    def can_compile(self) -> bool:
        return self.compiler is not None and self.python_headers

    @property
    def compile_missing(self) -> str:
        """What to install so that torch.compile works; '' when nothing is missing."""
        if self.compiler is None:
            return "no C++ compiler was found (Debian, Ubuntu: apt install g++)"
        if not self.python_headers:
            return "Python.h was not found (Debian, Ubuntu: apt install python3-dev)"
        return ""


CGROUP = "/sys/fs/cgroup"
BINDING = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY")  # clusters set them
FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")


def read_machine() -> Machine:
    import torch

    cpuinfo = _read("/proc/cpuinfo")
    flags: set[str] = set()
    facts: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in ("flags", "features"):
            flags.update(value.split())
        else:
            facts[key.strip()] = value.strip()
    accelerators = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        accelerators.append("Apple MPS")
    compiler = os.environ.get("CXX") or next(
        (c for c in ("g++", "clang++", "c++") if shutil.which(c)), None
    )
    headers = Path(sysconfig.get_path("include"), "Python.h").is_file()
    return Machine(
        _processor_name(facts),
        available_cores(),
        available_memory(),
        tuple(f for f in FEATURES if f in flags),
        tuple(accelerators),
        compiler if compiler and shutil.which(compiler) else None,
        headers,
    )


def _processor_name(facts: dict[str, str]) -> str:
    """As /proc/cpuinfo has it. A rented machine often says "AMD EPYC" of any generation, and one is
    twice as fast as the one before it: then its family and model are told, too."""
    name = facts.get("model name") or platform.processor() or platform.machine()
    named = any(map(str.isdigit, name.partition("@")[0]))  # behind it may stand the clock
    if not named and {"cpu family", "model"} <= facts.keys():
        name += f" (family {facts['cpu family']}, model {facts['model']})"
    return name


def available_cores() -> int:
    """Cores this process may use."""
    if "torch" in sys.modules and any(map(os.environ.get, BINDING)):
        return _cores_of_openmp()
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _cores_of_openmp() -> int:
    """As OpenMP found them when PyTorch was imported. Where it binds threads to cores, it has bound
    this one since then, and what the system says of this thread is a single core."""
    import torch

    return torch.get_num_threads()


def available_memory() -> int:
    """Bytes this process may still take: free memory, within the limit of its control group."""
    free = 0
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    if not free:
        try:
            free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (ValueError, OSError, AttributeError):
            free = 8 << 30
    limit, used = _read(f"{CGROUP}/memory.max"), _read(f"{CGROUP}/memory.current")
    if limit.strip().isdigit() and used.strip().isdigit():
        counts = dict(line.split() for line in _read(f"{CGROUP}/memory.stat").splitlines())
        # Pages of files count as used, but give way.
        files = sum(int(counts.get(name, 0)) for name in ("active_file", "inactive_file"))
        free = min(free, int(limit) - int(used) + files)
    return free


def resident_memory() -> tuple[int, int]:
    """Bytes of this process now in memory, and their peak since `reset_peak_memory`."""
    now = peak = 0
    for line in _read("/proc/self/status").splitlines():
        if line.startswith("VmRSS:"):
            now = int(line.split()[1]) * 1024
        elif line.startswith("VmHWM:"):
            peak = int(line.split()[1]) * 1024
    return now, peak


def reset_peak_memory() -> bool:
    """Let the peak start again from now. False where the system does not offer it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def process_start() -> float:
    """When this process started, on the clock of time.time()."""
    import time

    stat, uptime = _read("/proc/self/stat"), _read("/proc/uptime")
    if not stat or not uptime:
        return time.time()
    ticks = int(stat.rpartition(")")[2].split()[19])
    age = float(uptime.split()[0]) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - max(0.0, age)


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError):
        return ""
