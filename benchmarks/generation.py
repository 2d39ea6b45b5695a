"""Generation speed on one core beside `transformers.generate`, same weights, greedy.

    python benchmarks/generation.py

Ours and theirs take turns within one run, at batch 1 and batch 32; the median of the rounds is
compared, for theirs that of its faster precision. A line is appended to results/generation.jsonl.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import transformers
from records import record

from xunlian.decoding.engine import Engine
from xunlian.decoding.generate import generate_tokens
from xunlian.decoding.precision import faster_precision
from xunlian.interop.huggingface import write_config, write_weights
from xunlian.models.decoder import Decoder, DecoderConfig
from xunlian.recipe.settings import Decoding

CONFIG = DecoderConfig(
    "qwen3",
    vocab_size=8192,
    depth=6,
    width=384,
    heads=6,
    kv_heads=6,
    head_width=64,
    mlp_width=1024,
    context=512,
    tied=False,
)
PROMPT_TOKENS = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--new-tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-save", action="store_true", help="do not append to the results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):  # one core, and always the same one
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    transformers.logging.set_verbosity_error()
    model = random_model()
    theirs = open_theirs(model)
    precision = faster_precision(torch.device("cpu"))
    ours = {name: Engine(model, name) for name in dict.fromkeys((precision, "fp32"))}
    print(f"one core; ours chose {precision}")
    figures = {}
    for batch in (1, 32):
        prompts = torch.randint(CONFIG.vocab_size, (batch, PROMPT_TOKENS))
        same = run_ours(ours["fp32"], prompts, 16) == run_theirs(theirs["fp32"], prompts, 16)
        new_tokens = arguments.new_tokens
        contenders: dict[str, Callable[[], object]] = {
            **{f"ours {name}": partial(run_ours, engine, prompts, new_tokens)
               for name, engine in ours.items()},
            **{f"theirs {name}": partial(run_theirs, peer, prompts, new_tokens)
               for name, peer in theirs.items()},
        }  # fmt: skip
        rates = measure(contenders, batch * arguments.new_tokens, arguments.rounds)
        best = max(rates[f"theirs {name}"] for name in theirs)
        ratio = rates[f"ours {precision}"] / best
        figures[f"batch {batch}"] = {
            "tokens_per_second": rates,
            "ratio": ratio,
            "ratio_fp32": rates["ours fp32"] / rates["theirs fp32"],
            "same_tokens_fp32": same,
        }
        print(
            f"batch {batch:>2}: "
            + ", ".join(f"{k} {v:,.0f}" for k, v in rates.items())
            + f" tok/s; {ratio:.2f}x (fp32 both: "
            f"{figures[f'batch {batch}']['ratio_fp32']:.2f}x; same tokens: {same})"
        )
    if not arguments.no_save:
        record(
            "generation",
            {
                "threads": 1,
                "parameters": sum(p.numel() for p in model.parameters()),
                "prompt_tokens": PROMPT_TOKENS,
                "new_tokens": arguments.new_tokens,
                "rounds": arguments.rounds,
                "precision": precision,
                **figures,
            },
        )


def random_model() -> Decoder:
    model = Decoder(CONFIG).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 1.0 if parameter.ndim == 1 else 0.05
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return model


def open_theirs(model: Decoder) -> dict[str, transformers.PreTrainedModel]:
    """The same weights in Transformers, in both precisions."""
    with tempfile.TemporaryDirectory() as folder:
        write_config(Path(folder), model.config, end_id=None)
        write_weights(Path(folder) / "model.safetensors", model)
        return {
            name: transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
            for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
        }


def run_ours(engine: Engine, prompts: torch.Tensor, new_tokens: int) -> list[list[int]]:
    rows: list[list[int]] = [[] for _ in prompts]
    decoding = Decoding(max_tokens=new_tokens, temperature=0)
    for number, token in generate_tokens(engine, prompts.tolist(), decoding, set()):
        rows[number].append(token)
    return rows


def run_theirs(
    model: transformers.PreTrainedModel, prompts: torch.Tensor, new_tokens: int
) -> list[list[int]]:
    with torch.inference_mode():
        out = model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            do_sample=False,
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            pad_token_id=0,
        )
    rows: list[list[int]] = out[:, prompts.shape[1] :].tolist()
    return rows


def measure(
    contenders: dict[str, Callable[[], object]], tokens: int, rounds: int
) -> dict[str, float]:
    """Tokens a second, the median of `rounds` in which all take their turn."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, work in contenders.items():
            start = time.perf_counter()
            work()
            if turn:  # the first is a warm-up
                times[name].append(time.perf_counter() - start)
    return {name: tokens / statistics.median(seconds) for name, seconds in times.items()}


if __name__ == "__main__":
    main()
