"""What does portability cost? The portable decoder beside `speedrun`, and its parts one by one.

    xunlian prepare samples/shakespeare.txt --tokenizer char --val 0.1 --out shakespeare
    python benchmarks/architectures.py shakespeare --depth 4 --width 192 --context 128 \
        --tokens 500_000 --seeds 1 2 [--variants portable speedrun ...] [--speed]

Same width, depth, rows and rates for all; validation loss after the same tokens. A row for each
goes to results/architectures.jsonl; rows that stand there are skipped, so a long measurement can be
stopped and goes on. `squared_relu` and `soft_cap` were tried and left out: they are written here.
`--speed` times steps of portable and speedrun instead, in turns, by processor time.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from records import RESULTS, record
from torch import Tensor, nn
from torch.nn import functional as F

from xunlian.data.packed import PackedRows
from xunlian.evaluation.perplexity import count_windows, evaluating
from xunlian.models.decoder import Decoder
from xunlian.models.layers import Linear, joined_linear
from xunlian.models.losses import IGNORED
from xunlian.models.speedrun import Speedrun
from xunlian.recipe.resolve import resolve
from xunlian.recipe.settings import Model, Recipe, Training
from xunlian.shards.corpus import Corpus, open_corpus
from xunlian.training.networks import build_model
from xunlian.training.parallel import Group
from xunlian.training.schedule import momentum_factor, rate_factor
from xunlian.training.setup import build_stepper
from xunlian.training.step import Stepper

SOFT_CAP = 15.0
PARTS = ("value_embeddings", "scalars")
VARIANTS = {
    "portable": (),
    "speedrun": PARTS,
    **{f"portable + {part}": (part,) for part in (*PARTS, "squared_relu", "soft_cap")},
}


def make_recipe(options: argparse.Namespace, variant: str, seed: int, corpus: Corpus) -> Recipe:
    architecture = "qwen3" if variant == "portable" else "speedrun"
    return resolve(
        Recipe(
            model=Model(
                architecture=architecture,
                depth=options.depth,
                width=options.width,
                context=options.context,
                dropout=0.0,
            ),
            training=Training(
                budget=f"{options.tokens} tokens",
                batch_tokens=options.batch_tokens,
                precision=options.precision,
                attention="matmul",
                grow_from=0,  # speedrun has nothing of the kind
                seed=seed,
            ),
        ),
        vocab_size=corpus.vocab_size,
        corpus_tokens=corpus.tokens("train"),
        matmul_rate=1e11,
        on_gpu=False,
    )


def make_stepper(recipe: Recipe, parts: tuple[str, ...], corpus: Corpus, compiled: bool) -> Stepper:
    """With the network of the recipe, which has only these parts beyond the portable one."""
    model = build_model(recipe, corpus.vocab_size)
    if isinstance(model, Speedrun):
        generator = torch.Generator().manual_seed(recipe.training.seed)
        change(model, parts, generator)
    torch.manual_seed(recipe.training.seed)
    stepper = build_stepper(recipe, model, Group(0, 1, torch.device("cpu")))
    if "soft_cap" in parts:
        stepper._bare_loss.gradients = stepper._eager_gradients = capped_gradients
    model.train()
    if compiled:
        stepper.compile()
    return stepper


@torch.no_grad()
def change(model: Speedrun, parts: tuple[str, ...], generator: torch.Generator) -> None:
    """Take away what is not in `parts`, and put in what is and was left out of speedrun."""
    if "value_embeddings" not in parts:
        model.values = nn.ParameterDict()
    for block in model.blocks:
        if "value_embeddings" not in parts:
            block.value_gate = None
        if "scalars" not in parts:
            scales = block.scales.detach()
            del block.scales
            block.register_buffer("scales", scales)
        if "squared_relu" in parts:
            block.mlp = SquaredReLU(model.config.width, generator)


class SquaredReLU(nn.Module):
    """relu(norm(x) up)^2, projected back (arXiv 2109.08668): two matrices, 4 times as wide.

    At half the usual scale its hidden values begin about as large as those of SwiGLU.
    """

    def __init__(self, width: int, generator: torch.Generator):
        super().__init__()
        self.up = Linear(width, 4 * width, bias=False)
        self.output = Linear(4 * width, width, bias=False)
        self.up.weight.normal_(0, 0.5 * width**-0.5, generator=generator)
        self.output.weight.zero_()

    def forward(self, x: Tensor, norm: nn.Module) -> Tensor:
        hidden: Tensor = _Square.apply(joined_linear(x, [self.up], norm))
        return self.output(hidden)


class _Square(torch.autograd.Function):
    """relu(x)^2, whose gradient 2 relu(x) needs no mask of booleans: these are not vectorized."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        positive = F.relu(x)
        ctx.save_for_backward(positive)
        return positive * positive

    @staticmethod
    def backward(ctx, *grads: Tensor) -> Tensor:
        (positive,) = ctx.saved_tensors
        return grads[0] * (2 * positive)


def capped_gradients(
    hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """As losses.chunk_gradients, of logits that tanh keeps within SOFT_CAP."""
    bent_NV = torch.tanh(F.linear(hidden_ND, weight_VD).float() / SOFT_CAP)
    exponentials_NV = (SOFT_CAP * (bent_NV - 1)).exp()
    total_N1 = exponentials_NV.sum(-1, keepdim=True)
    index_N1 = targets_N.clamp(min=0).unsqueeze(-1)
    kept_N1 = (targets_N != IGNORED).unsqueeze(-1)
    losses_N1 = total_N1.log() + SOFT_CAP * (1 - bent_NV.gather(-1, index_N1))
    columns = torch.arange(bent_NV.shape[-1], dtype=torch.int32)
    is_target = (columns == index_N1.int()).float()
    slopes_NV = (exponentials_NV / total_N1 - is_target) * kept_N1 * (1 - bent_NV.square())
    slopes_NV = slopes_NV.to(hidden_ND.dtype)
    return (losses_N1 * kept_N1).sum(), slopes_NV @ weight_VD, slopes_NV.t() @ hidden_ND


def train(recipe: Recipe, stepper: Stepper, corpus: Corpus) -> list[float]:
    """Spend the budget; seconds of processor time of each step."""
    training, times = recipe.training, []
    rows = PackedRows(corpus.stream("train"), recipe.model.context, training.seed)
    per_step = training.batch_tokens // recipe.model.context
    steps = int(training.budget.split()[0]) // training.batch_tokens
    for step in range(steps):
        begun = time.process_time()  # other processes do not count
        factor = rate_factor(
            step / steps,
            warmup=training.warmup,
            decay=training.decay,
            final_rate=training.final_rate,
        )
        stepper.step(rows.read(step * per_step, per_step), factor, momentum_factor(step))
        times.append(time.process_time() - begun)
    return times


def validation_loss(
    model: Decoder, corpus: Corpus, dtype: torch.dtype, capped: bool, most: int
) -> float:
    """Mean nats over windows that do not overlap: all, or the first `most`."""
    stream, context, nats = corpus.stream("val"), model.config.context, 0.0
    windows = min(most, count_windows(len(stream), context) - 1)  # whole ones
    with evaluating(model), torch.compiler.set_stance("force_eager"):
        for first in range(0, windows, 32):
            last = min(windows, first + 32)
            read = torch.from_numpy(stream.read(first * context, last * context + 1)).long()
            hidden = model(read[:-1].view(-1, context), dtype).flatten(0, 1)
            parts = zip(hidden.split(1024), read[1:].split(1024), strict=True)
            for part, targets in parts:
                logits = F.linear(part, model.head_weight.to(dtype)).float()
                if capped:
                    logits = SOFT_CAP * torch.tanh(logits / SOFT_CAP)
                nats += float(F.cross_entropy(logits, targets, reduction="sum"))
    return nats / (windows * context)


def measure_loss(options: argparse.Namespace, corpus: Corpus) -> None:
    for seed in options.seeds:
        for variant in options.variants:
            recipe = make_recipe(options, variant, seed, corpus)
            key = {
                "corpus": Path(options.corpus).name,
                "network": f"{options.depth}x{options.width}, context {options.context}",
                "tokens": options.tokens,
                "batch_tokens": recipe.training.batch_tokens,
                "variant": variant,
                "seed": seed,
            }
            if found(key):
                continue
            torch._dynamo.reset()
            parts = VARIANTS[variant]
            stepper = make_stepper(recipe, parts, corpus, not options.eager)
            times = train(recipe, stepper, corpus)
            capped = "soft_cap" in parts
            loss = validation_loss(stepper.model, corpus, stepper.dtype, capped, options.windows)
            row = {
                **key,
                "parameters": sum(p.numel() for p in stepper.model.parameters()),
                "flops_per_token": flops_per_token(stepper.model),
                "val_loss": loss,
                "tokens_per_processor_second": recipe.training.batch_tokens
                / statistics.median(times),
            }
            print(json.dumps(row), flush=True)
            record("architectures", row)


def flops_per_token(model: Decoder) -> float:
    """As recipe/size.py counts them: 6 for each parameter of a matrix, and the causal attention."""
    config = model.config
    met = sum(p.numel() for p in model.blocks.parameters() if p.ndim == 2)
    attention = config.depth * config.heads * config.head_width * config.context
    return 6 * (met + model.head_weight.numel() + attention)


def measure_speed(options: argparse.Namespace, corpus: Corpus) -> None:
    """Median processor time of a step: portable and speedrun take turns of five steps."""
    options.tokens = 5 * (options.batch_tokens or 2048)
    sides = {}
    for variant in ("portable", "speedrun"):
        recipe = make_recipe(options, variant, 1, corpus)
        stepper = make_stepper(recipe, VARIANTS[variant], corpus, not options.eager)
        train(recipe, stepper, corpus)
        sides[variant] = recipe, stepper
    times: dict[str, list[float]] = {variant: [] for variant in sides}
    for _ in range(options.rounds):
        for variant, (recipe, stepper) in sides.items():
            times[variant] += train(recipe, stepper, corpus)
    medians = {variant: statistics.median(seconds) for variant, seconds in times.items()}
    row = {
        "corpus": Path(options.corpus).name,
        "network": f"{options.depth}x{options.width}, context {options.context}",
        "compiled": not options.eager,
        "step_processor_seconds": medians,
        "speed_ratio": medians["portable"] / medians["speedrun"],
    }
    print(json.dumps(row))
    record("architectures", row)


def found(key: dict) -> bool:
    file = RESULTS / "architectures.jsonl"
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    return any(key.items() <= json.loads(line).items() for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus")
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=500_000)
    parser.add_argument("--batch-tokens", type=int)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--eager", action="store_true", help="do not compile")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--windows", type=int, default=1 << 40, help="of the validation text")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    (measure_speed if options.speed else measure_loss)(options, open_corpus(options.corpus))


if __name__ == "__main__":
    main()
