"""What is measured and what was: rows on file, and the runs that are left."""

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from records import record, recorded, surroundings

from peers import ours
from peers.ratios import Goal, Row, first_to_reach, points
from peers.start import Failed

NAME = "time_to_loss"


class Bench:
    """What is measured and what was: rows on file, and the work that is left."""

    def __init__(
        self,
        task: str,
        goals: Sequence[Goal],
        names: Mapping[str, str],
        options: Namespace,
        results: Path,
    ) -> None:
        self.task, self.goals, self.names = task, goals, names
        self.options, self.results = options, results
        self.around = surroundings()
        self.asked: dict[str, Any] = {}
        self.failed = False
        self.corpus = ""  # rows of another one do not stand beside these; '': of the last row

    def rows(self) -> list[Row]:
        """Those of this task, corpus and machine, of each side in the setup that is asked for,
        else in the last one. Of the same settings and seed the latest counts."""
        lines = [
            row
            for row in recorded(NAME, self.results)
            if row["task"] == self.task and row["machine"] == self.around["machine"]
        ]
        of = [row["settings"].get("corpus", "") for row in lines]
        wanted = self.corpus or (of[-1] if of else "")
        lines = [row for row, corpus in zip(lines, of, strict=True) if corpus == wanted]
        setups = {row["side"]: _setup(row) for row in lines} | self.asked
        found = {
            f"{row['side']} {row['settings']} {row['seed']}": row
            for row in lines
            if _setup(row) == setups[row["side"]]
        }
        return list(found.values())

    def measure(
        self,
        side: str,
        version: str,
        settings: dict[str, Any],
        seed: int,
        run: Callable[[], dict[str, Any]],
    ) -> None:
        """Run a side unless its row is there, and append the row."""
        key = {"side": side, "version": version, "settings": settings, "seed": seed}
        self.asked[side] = _setup(key)
        said = ", ".join(f"{k} {v}" for k, v in {**settings, "seed": seed}.items() if v != [])
        if not self.options.again:
            for row in self.rows():
                if all(row[name] == value for name, value in key.items()):
                    print(f"{self.names[side]}, {said}: on file, {_result(row)}", flush=True)
                    return
        print(f"{self.names[side]}, {said} ...", flush=True)
        try:
            row = {"task": self.task, **key, **run()}
        except Failed as problem:
            print(problem, flush=True)
            self.failed = True
            return
        record(NAME, row, self.results)
        print(f"  {_result(row)}", flush=True)

    def ours(
        self,
        side: str,
        corpus: Path,
        folder: Path,
        recipe: str,
        overrides: list[str],
        data: str = "",
    ) -> None:
        """One budget after the other, until one reaches every loss that is asked of this side."""
        version = f"{ours.version()}, torch {self.around['versions']['torch']}"
        losses = [
            row["loss"]
            for goal in self.goals
            for row in [*self.rows(), {"side": goal.peer, "loss": goal.loss}]
            if goal.ours == side and row["side"] == goal.peer and row["loss"] is not None
        ]
        for budget in sorted(self.options.budgets):
            for seed in self.options.seeds:
                settings = {"recipe": recipe, "overrides": overrides, "budget_seconds": budget}
                settings |= {"corpus": data} if data else {}
                self.measure(
                    side,
                    version,
                    settings,
                    seed,
                    lambda budget=budget, seed=seed: ours.measure(
                        folder, corpus, recipe, overrides, f"{budget}s", seed
                    ),
                )
            found = points(row for row in self.rows() if row["side"] == side)
            if not losses or first_to_reach(found, min(losses)):
                return

    def wants(self, side: str) -> bool:
        return not self.options.only or side in self.options.only


def _setup(row: Row) -> Any:
    """What rows of a side must share to stand together; they differ in rate, budget and seed."""
    varied = ("rate", "budget_seconds")
    return row["version"], {k: v for k, v in row["settings"].items() if k not in varied}


def _result(row: Row) -> str:
    return f"loss {row['loss']:.4f} after {row['seconds']:.1f} s, {row['tokens']:,} tokens"
