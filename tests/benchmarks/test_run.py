"""`make bench` ends with the line of the benchmark that failed."""

import os
import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).parents[2] / "benchmarks" / "run.py"


def test_a_wrong_checkout_ends_it_with_one_line(tmp_path):
    environment = {**os.environ, "NANOGPT": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, RUN, "time_to_loss"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert str(tmp_path) in last and "git clone" in last
    assert "Traceback" not in done.stderr


def test_an_unknown_benchmark_is_named():
    done = subprocess.run([sys.executable, RUN, "nosuch"], capture_output=True, text=True)
    assert done.returncode == 1 and "'nosuch'" in done.stderr and "Traceback" not in done.stderr
