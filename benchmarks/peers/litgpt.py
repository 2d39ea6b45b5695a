"""litgpt's `pretrain`, in a Python of its own: a Llama-alike as its defaults train it on a CPU.

Where a default does not fit 3M tokens, it got a kinder value: a batch of 8 rows and not 512, a
warm-up of 100 steps and not 2,000, no checkpoint on the way.
"""

import subprocess
from pathlib import Path
from typing import Any

from peers import chinese
from peers.child import Stopwatch, run, tell, tell_base, tell_peak
from peers.evaluate import validation_loss
from peers.start import Failed, facts, gather, start

HOW_TO_GET = (
    "python -m venv litgpt && litgpt/bin/pip install litgpt, then --litgpt-python litgpt/bin/python"
)


def version(python: Path) -> str:
    """Raises Failed: there is no litgpt for this Python."""
    code = "from importlib.metadata import version as v; print(v('litgpt'), 'torch', v('torch'))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"'{python}' has no litgpt; {HOW_TO_GET}")
    return done.stdout.strip()


def measure(folder: Path, corpus: Path, steps: int, python: Path) -> dict[str, Any]:
    arguments = {"folder": str(folder), "corpus": str(corpus), "steps": steps}
    lines = start("litgpt", folder, arguments, python=str(python))
    first = next(line.seconds for line in lines if line.text.startswith("Epoch 1 | iter 1 "))
    told = {"first_step_seconds": first, "first_step_tokens": chinese.BATCH_TOKENS}
    return gather([told, *facts(lines)])


def child(folder: str, corpus: str, steps: int) -> None:
    import litgpt.pretrain
    import torch
    from litgpt.args import EvalArgs, TrainArgs
    from litgpt.config import Config
    from litgpt.data import DataModule
    from torch.utils.data import DataLoader

    tell_base()
    watch = Stopwatch()
    interval = max(1, steps // chinese.VALIDATIONS)
    points = iter(range(interval, steps + 1, interval))

    class Shards(DataModule):
        def connect(self, *_: Any, **__: Any) -> None:
            pass

        def train_dataloader(self) -> Any:
            rows = chinese.training_rows(corpus, chinese.CONTEXT + 1)
            return DataLoader(rows, batch_size=chinese.ROWS, shuffle=True, drop_last=True)

        def val_dataloader(self) -> Any:
            return DataLoader([])  # `validate` below reads the shards itself

    def validate(_: Any, model: Any, *__: Any, verbose: bool = True, **___: Any) -> Any:
        if not verbose:  # the sanity check before the first step
            return torch.tensor(0.0)
        tell_peak()
        with watch.paused(), torch.compiler.set_stance("force_eager"):
            model.eval()
            loss = validation_loss(model, chinese.read_tokens(corpus, "val"), chinese.CONTEXT)
            model.train()
        tell(seconds=watch.seconds(), tokens=next(points) * chinese.BATCH_TOKENS, loss=loss)
        return torch.tensor(loss)

    def save_checkpoint(_: Any, state: Any, *__: Any) -> None:
        tell(
            parameters=sum(parameter.numel() for parameter in state["model"].parameters()),
            threads=torch.get_num_threads(),
        )

    litgpt.pretrain.validate = validate
    litgpt.pretrain.save_checkpoint = save_checkpoint  # after the last step
    litgpt.pretrain.setup(
        "llama-14m",
        model_config=Config(
            name="llama-14m",
            block_size=chinese.CONTEXT,
            n_layer=chinese.DEPTH,
            n_head=chinese.HEADS,
            n_embd=chinese.WIDTH,
            vocab_size=chinese.VOCAB,
            padded_vocab_size=chinese.VOCAB,
            intermediate_size=chinese.MLP_WIDTH,
            norm_class_name="RMSNorm",
            mlp_class_name="LLaMAMLP",
            rotary_percentage=1.0,
            parallel_residual=False,
            bias=False,
        ),
        out_dir=Path(folder) / "litgpt",
        data=Shards(),
        train=TrainArgs(
            save_interval=None,
            global_batch_size=chinese.ROWS,
            micro_batch_size=chinese.ROWS,
            max_tokens=steps * chinese.BATCH_TOKENS,
            max_norm=1.0,
            min_lr=4e-5,
            lr_warmup_steps=min(100, steps // 5),
            tie_embeddings=True,
        ),
        eval=EvalArgs(interval=interval, final_validation=False),
        logger_name="csv",
    )


if __name__ == "__main__":
    run(child)
