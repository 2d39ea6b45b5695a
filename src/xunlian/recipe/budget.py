"""How long to train: wall-clock time, steps, tokens or epochs."""

import re
from dataclasses import dataclass
from typing import Literal

Unit = Literal["seconds", "steps", "tokens", "epochs"]

_SECONDS = {
    "s": 1,
    "sec": 1,
    "second": 1,
    "seconds": 1,
    "min": 60,
    "minute": 60,
    "minutes": 60,
    "h": 3600,
    "hour": 3600,
    "hours": 3600,
    "d": 86400,
    "day": 86400,
    "days": 86400,
}
_COUNTS: dict[str, Unit] = {
    "step": "steps",
    "steps": "steps",
    "token": "tokens",
    "tokens": "tokens",
    "epoch": "epochs",
    "epochs": "epochs",
}
_SCALE = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9}


@dataclass(frozen=True)
class Budget:
    """An amount of training: `amount` seconds, steps, tokens or epochs."""

    amount: float
    unit: Unit

    def steps(self, batch_tokens: int, epoch_tokens: int) -> int | None:
        """The number of optimizer steps, or None when only the clock can tell."""
        match self.unit:
            case "seconds":
                return None
            case "steps":
                return max(1, round(self.amount))
            case "tokens":
                return max(1, round(self.amount / batch_tokens))
            case "epochs":
                return max(1, round(self.amount * epoch_tokens / batch_tokens))


def parse_budget(text: str) -> Budget:
    """'5min', '90s', '200 steps', '10M tokens', '3 epochs' -> Budget.

    Raises:
        ValueError: none of these.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmb]?)\s*([a-z]+)\s*", text.lower())
    if not match:
        # '5min' must not read as 5 million 'in': try again with the unit alone.
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)()\s*([a-z]+)\s*", text.lower())
    for number, scale, unit in [match.groups()] if match else []:
        whole = scale + unit
        if whole in _SECONDS:
            scale, unit = "", whole
        amount = float(number) * _SCALE[scale]
        if unit in _SECONDS and not scale and amount > 0:
            return Budget(amount * _SECONDS[unit], "seconds")
        if unit in _COUNTS and amount > 0:
            return Budget(amount, _COUNTS[unit])
    raise ValueError(
        f"'{text}' is no budget; write for example 5min, 90s, 200 steps, 10M tokens or 3 epochs"
    )
