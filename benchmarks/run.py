"""All benchmarks, one after the other: what `make bench` runs (about an hour on two cores, and
another for each peer of `time_to_loss.py`).

    python benchmarks/run.py [time_to_loss training_speed shakespeare generation prepare_memory]

Each is a program of its own that appends its result when it has it, so a run that is stopped goes
on with the names that are left.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ALL = ("time_to_loss", "training_speed", "shakespeare", "generation", "prepare_memory")


def main() -> None:
    names = sys.argv[1:] or ALL
    for name in names:
        if name not in ALL:
            raise SystemExit(f"There is no benchmark '{name}'. There are: {', '.join(ALL)}.")
    for name in names:
        print(f"== {name}", flush=True)
        done = subprocess.run([sys.executable, HERE / f"{name}.py"])
        if done.returncode < 0:
            raise SystemExit(f"{name} was ended by signal {-done.returncode}.")
        if done.returncode:
            sys.exit(done.returncode)  # it has said why


if __name__ == "__main__":
    main()
