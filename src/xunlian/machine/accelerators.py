"""Accelerators that a plan may be made for without having them: rates and memory by data sheet.

Dense bf16 products, without sparsity: NVIDIA's and AMD's data sheets of each card.
"""

from dataclasses import dataclass

from xunlian.errors import InputError, did_you_mean


@dataclass(frozen=True)
class Accelerator:
    """Peak rate of dense bf16 products in FLOP/s, and bytes of memory, of one card."""

    bf16: float
    memory: float


ACCELERATORS = {
    "b200": Accelerator(2250e12, 180e9),
    "h200": Accelerator(989e12, 141e9),
    "h100": Accelerator(989e12, 80e9),
    "mi300x": Accelerator(1307e12, 192e9),
    "a100": Accelerator(312e12, 80e9),
    "a100-40gb": Accelerator(312e12, 40e9),
    "l40s": Accelerator(362e12, 48e9),
    "l4": Accelerator(121e12, 24e9),
    "a10": Accelerator(125e12, 24e9),
    "rtx5090": Accelerator(209e12, 32e9),
    "rtx4090": Accelerator(165e12, 24e9),
    "rtx3090": Accelerator(71e12, 24e9),
}


def parse_accelerator(text: str) -> tuple[str, Accelerator, int]:
    """'h100' or 'h100:8' -> name, card, how many.

    Raises:
        InputError: an unknown name, or no count.
    """
    name, colon, count = text.lower().partition(":")
    if name not in ACCELERATORS:
        raise InputError(
            f"No figures are known for the accelerator '{name}'."
            f"{did_you_mean(name, ACCELERATORS)} Known: {', '.join(ACCELERATORS)}."
        )
    if colon and not (count.isdigit() and int(count)):
        raise InputError(f"'{text}' names no number of cards; write for example {name}:8.")
    return name, ACCELERATORS[name], int(count or 1)
