"""Over which distance does information survive? A probe: repeat symbols after a gap.

A small network reads a marker, a few symbols, fillers of no meaning, the marker again, and must now
say the symbols once more (the copying problem of Hochreiter and Schmidhuber, 1997, as in Arjovsky
et al., arXiv 1511.06464). A recurrent network has to carry the symbols through all fillers in a
state of fixed size; attention looks back. Training begins with short gaps, and longer ones join, or
recurrent networks would not begin to learn (an LSTM with eight symbols of 64 and all gaps from the
first step on: nothing after 60 steps; as it is here, half the loss is gone after 30).

    in      # q c x h . ; . , # q c x
    wanted                    q c x h        symbols 4, distance 4

No symbol comes twice in a row, so "what stood after this one?" has one answer. Only the repetition
is scored, in training as in the test. All of it follows from the seed, when the budget is in steps.

Shapes: B rows, L length, K symbols, D width.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch.nn import functional as F

from xunlian.evaluation.perplexity import evaluating
from xunlian.interop.huggingface import Model
from xunlian.machine.rates import pick_device
from xunlian.models.losses import IGNORED
from xunlian.recipe.budget import Budget
from xunlian.recipe.resolve import resolve
from xunlian.recipe.settings import Model as ModelTable
from xunlian.recipe.settings import Recipe, Training
from xunlian.studies.equal import equal_recipes
from xunlian.training.losses import NextTokenLoss
from xunlian.training.networks import build_model
from xunlian.training.parallel import Group
from xunlian.training.schedule import Clock, momentum_factor, rate_factor
from xunlian.training.setup import build_stepper
from xunlian.training.step import Stepper

SYMBOLS = 4  # to remember, of ALPHABET
ALPHABET, FILLERS = 16, 4
MARKER = ALPHABET + FILLERS
VOCAB_SIZE = MARKER + 1
DISTANCES = (4, 8, 16, 32, 64, 128, 256)
SIZE = "300k"
BATCH_TOKENS = 4096
TESTED = 128  # rows at each distance
SURVIVES = 0.9


@dataclass(frozen=True)
class Probe:
    """What a family kept: at each distance, the share of the symbols that it said rightly."""

    family: str
    parameters: int
    steps: int
    seconds: float
    accuracy: dict[int, float]

    @property
    def reach(self) -> int:
        """The largest distance over which SURVIVES of the symbols survive; 0 when over none."""
        return max((d for d, share in self.accuracy.items() if share >= SURVIVES), default=0)


def probe_families(
    families: Iterable[str],
    budget: Budget,
    *,
    seed: int = 1,
    size: str = SIZE,
    distances: Sequence[int] = DISTANCES,
    progress: Callable[[str, float, float], None] = lambda family, done, loss: None,
) -> Iterator[Probe]:
    """Train and test one network of each family, all with the same number of parameters.

    Args:
        budget: of each, in seconds or steps.
        progress: told of the family, how far it is (0 to 1), and its last loss.
    """
    recipe = Recipe(
        model=ModelTable(size=size, context=row_length(max(distances)), dropout=0.0),
        training=Training(
            budget=f"{budget.amount:g} {budget.unit}",
            batch_tokens=row_length(max(distances)),
            precision="fp32",
            attention="sdpa",
            compile="off",
            seed=seed,
        ),
    )
    for family, (equal, parameters) in equal_recipes(recipe, families, VOCAB_SIZE).items():
        resolved = resolve(
            equal,
            vocab_size=VOCAB_SIZE,
            corpus_tokens=1 << 40,
            matmul_rate=1e11,
            on_gpu=False,
        )
        yield _probe(resolved, parameters, budget, distances, partial(progress, family))


def _probe(
    recipe: Recipe,
    parameters: int,
    budget: Budget,
    distances: Sequence[int],
    progress: Callable[[float, float], None],
) -> Probe:
    training = recipe.training
    group = Group(0, 1, pick_device(0))
    clock = Clock(budget, BATCH_TOKENS, BATCH_TOKENS, started=time.time())
    torch.manual_seed(training.seed)
    model = build_model(recipe, VOCAB_SIZE)
    stepper = Stepper(
        NextTokenLoss(model, torch.float32),  # every row is a text of its own
        build_stepper(recipe, model, group).optimizers,
        group,
        micro_rows=BATCH_TOKENS,
        grad_clip=training.grad_clip,
    )
    model.train()
    step, step_seconds = 0, 0.0
    while (done := clock.progress(step, step_seconds)) < 1:
        begun = time.perf_counter()
        rate = rate_factor(
            done, warmup=training.warmup, decay=training.decay, final_rate=training.final_rate
        )
        generator = np.random.default_rng((training.seed, step, 0))
        # Ever longer ones: what is learned over a short distance is the way to a longer one.
        most = max(1, math.ceil(len(distances) * min(1.0, 1.5 * done)))
        distance = int(generator.choice(sorted(distances)[:most]))
        batch = copy_rows(generator, max(1, BATCH_TOKENS // row_length(distance)), distance)
        result = stepper.step(batch, rate, momentum_factor(step))
        step, step_seconds = step + 1, time.perf_counter() - begun
        progress(done, result.loss)
    return Probe(
        recipe.model.family,
        parameters,
        step,
        clock.seconds(),
        {distance: _accuracy(model, distance, training.seed) for distance in distances},
    )


def row_length(distance: int) -> int:
    """Inputs of a row: two markers, the symbols, the fillers, all symbols again but the last."""
    return 2 + 2 * SYMBOLS + distance - 1


def copy_rows(
    generator: np.random.Generator, rows: int, distance: int
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets (rows, L): between symbols and second marker lie `distance` fillers."""
    symbols_BK = generator.permuted(np.tile(np.arange(ALPHABET), (rows, 1)), axis=1)[:, :SYMBOLS]
    fillers = generator.integers(ALPHABET, ALPHABET + FILLERS, (rows, distance))
    marker_B1 = np.full((rows, 1), MARKER)
    text = np.concatenate([marker_B1, symbols_BK, fillers, marker_B1, symbols_BK], axis=1)
    targets_BL = np.full((rows, text.shape[1] - 1), IGNORED)
    targets_BL[:, -SYMBOLS:] = symbols_BK
    return text[:, :-1], targets_BL


def _accuracy(model: Model, distance: int, seed: int) -> float:
    """The share of TESTED rows' symbols that get the highest probability."""
    inputs_BL, targets_BL = copy_rows(np.random.default_rng((seed, distance, 1)), TESTED, distance)
    device = model.head_weight.device
    with evaluating(model):
        hidden_BKD = model(torch.from_numpy(inputs_BL).to(device))[:, -SYMBOLS:]
        said_BK = F.linear(hidden_BKD, model.head_weight).argmax(-1).cpu().numpy()
    return float((said_BK == targets_BL[:, -SYMBOLS:]).mean())
