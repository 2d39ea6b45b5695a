"""Transformers' `Trainer` in bf16: a Llama-alike, fed with rows of packed tokens.

As its defaults are: learning rate 5e-5 that falls linearly, no warm-up. Tuned: the given rate, with
a warm-up over the first twentieth.
"""

from pathlib import Path
from typing import Any

from peers import chinese
from peers.child import Stopwatch, run, tell, tell_base, tell_peak
from peers.evaluate import validation_loss
from peers.start import facts, gather, start

HOW_TO_GET = "pip install 'transformers>=5' accelerate"


def measure(folder: Path, corpus: Path, steps: int, rate: float | None) -> dict[str, Any]:
    """`rate` None: the defaults."""
    arguments = {"folder": str(folder), "corpus": str(corpus), "steps": steps, "rate": rate}
    return gather(facts(start("trainer", folder, arguments)))


def child(folder: str, corpus: str, steps: int, rate: float | None) -> None:
    import torch
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        set_seed,
    )

    tell_base()
    watch = Stopwatch()
    set_seed(42)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=chinese.VOCAB,
            hidden_size=chinese.WIDTH,
            num_hidden_layers=chinese.DEPTH,
            num_attention_heads=chinese.HEADS,
            intermediate_size=chinese.MLP_WIDTH,
            max_position_embeddings=chinese.CONTEXT,
            tie_word_embeddings=True,
        )
    )
    rows = chinese.training_rows(corpus, chinese.CONTEXT)
    held_out = chinese.read_tokens(corpus, "val")
    examples = [{"input_ids": row, "labels": row} for row in rows]

    class Points(TrainerCallback):
        def on_step_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
            step = state.global_step
            if step == 1:
                tell(first_step_seconds=watch.seconds(), first_step_tokens=chinese.BATCH_TOKENS)
            if step % max(1, steps // chinese.VALIDATIONS) and step != steps:
                return
            tell_peak()
            with watch.paused():
                model.eval()
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    loss = validation_loss(
                        lambda x_BL: model(x_BL).logits, held_out, chinese.CONTEXT
                    )
                model.train()
            tell(seconds=watch.seconds(), tokens=step * chinese.BATCH_TOKENS, loss=loss)

    tuned = {} if rate is None else {"learning_rate": rate, "warmup_steps": steps // 20}
    arguments = TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=chinese.ROWS,
        max_steps=steps,
        bf16=True,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        **tuned,
    )
    Trainer(model, arguments, train_dataset=examples, callbacks=[Points()]).train()
    tell(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        threads=torch.get_num_threads(),
        learning_rate=arguments.learning_rate,
    )


if __name__ == "__main__":
    run(child)
