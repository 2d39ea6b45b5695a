"""Loss and gradients on preferences are those of TRL on the same tokens."""

from types import SimpleNamespace

import pytest
import torch
from made_preferences import answers_of, policy_of, resolved

from xunlian.interop.huggingface import load_model, write_weights
from xunlian.interop.names import entries, to_theirs
from xunlian.training import objectives, reference, setup

pytest.importorskip("trl", reason="needs pip install trl")
pytest.importorskip("datasets", reason="needs pip install datasets")

SOME = 12  # preferences


@pytest.fixture
def policy(chat_run, tmp_path):
    """Ours, and the same in Transformers."""
    from transformers import AutoModelForCausalLM

    model = policy_of(chat_run)
    folder = tmp_path / "policy"
    folder.mkdir()
    for file in (chat_run / "model").iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    write_weights(folder / "model.safetensors", model)
    return model, AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def ours(model, preferences, chat_run, *settings):
    """The mean loss of the first preferences; the gradients stay in the model."""
    recipe, group = resolved(preferences, chat_run, *settings)
    objective = objectives.objective_of(recipe, preferences)
    if recipe.preference.method == "dpo":
        first = load_model(chat_run / "model")
        reference.compute_reference(objective, first, torch.float32, group)
    rows = objective.rows
    *arrays, which = rows.read(0, rows.rows_per_epoch)
    which[which >= SOME] = -1
    stepper = setup.build_stepper(recipe, model.train(), group)
    stepper.micro_rows = 3
    return float(stepper.backward((*arrays, which))) / SOME


def assert_same_gradients(model, theirs):
    """TRL's are of the mean loss."""
    gradients = {name: parameter.grad / SOME for name, parameter in model.named_parameters()}
    found = dict(theirs.named_parameters())
    for entry in entries(model.config):
        if entry.theirs not in found:  # a head that is the embedding
            continue
        gap = (to_theirs(entry, gradients) - found[entry.theirs].grad).abs().max()
        assert gap < 1e-5 * max(1.0, found[entry.theirs].grad.abs().max()), entry.theirs


def examples(preferences):
    """The first preferences as TRL's collators take them."""
    found = []
    for sides in answers_of(preferences)[:SOME]:
        ids, prompts = [], []
        for tokens, learned in sides:
            first, last = int(learned.nonzero()[0]), int(learned.nonzero()[-1]) + 1
            ids.append(tokens[first:last].tolist())
            prompts.append(tokens[:first].tolist())
        assert prompts[0] == prompts[1]
        found.append({"prompt_ids": prompts[0], "chosen_ids": ids[0], "rejected_ids": ids[1]})
    return found


def test_dpo(policy, preferences, chat_run, tmp_path):
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    model, theirs = policy
    trainer = DPOTrainer(
        model=theirs,
        ref_model=AutoModelForCausalLM.from_pretrained(chat_run / "model", dtype=torch.float32),
        args=DPOConfig(
            output_dir=str(tmp_path / "trl"), beta=0.3, max_length=None, use_cpu=True, bf16=False,
            report_to=[], gradient_checkpointing=False,
        ),
        train_dataset=Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}]),
        processing_class=AutoTokenizer.from_pretrained(chat_run / "model"),
    )  # fmt: skip
    batch = trainer.data_collator(examples(preferences))
    loss = trainer.compute_loss(trainer.model.train(), batch)
    loss.backward()
    assert ours(model, preferences, chat_run, "preference.beta=0.3") == pytest.approx(
        loss.item(), abs=1e-5
    )
    assert_same_gradients(model, trainer.model)


def padded(preferences):
    """The same as the batch of TRL's older trainers."""
    batch = {}
    for side in ("chosen", "rejected"):
        rows = [(e["prompt_ids"], e[f"{side}_ids"]) for e in examples(preferences)]
        longest = max(len(prompt) + len(answer) for prompt, answer in rows)
        for name, fill, of in (
            ("input_ids", 0, lambda p, a: p + a),
            ("attention_mask", 0, lambda p, a: [1] * len(p + a)),
            ("labels", -100, lambda p, a: [-100] * len(p) + a),
        ):
            values = [of(*row) + [fill] * (longest - len(row[0] + row[1])) for row in rows]
            batch[f"{side}_{name}"] = torch.tensor(values)
    return batch


def bare(trainer, **settings):
    """A trainer that only computes."""
    from accelerate import Accelerator

    made = trainer.__new__(trainer)
    fixed = {
        "accelerator": Accelerator(cpu=True), "is_encoder_decoder": False, "pad_token_id": 0,
        "padding_value": 0, "aux_loss_enabled": False, "label_smoothing": 0.0, "alpha": 0.0,
        "args": SimpleNamespace(device=torch.device("cpu")),
    }  # fmt: skip
    for name, value in (fixed | settings).items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_simpo(smoothing, policy, preferences, chat_run):
    from trl.experimental.cpo import CPOTrainer

    model, theirs = policy
    trainer = bare(
        CPOTrainer, loss_type="simpo", beta=2.5, simpo_gamma=1.2, cpo_alpha=0.0,
        label_smoothing=smoothing,
    )  # fmt: skip
    loss, _ = trainer.get_batch_loss_metrics(theirs, padded(preferences))
    loss.backward()
    found = ours(
        model, preferences, chat_run, "preference.method=simpo", "preference.beta=2.5",
        "preference.gamma=1.2", f"training.label_smoothing={smoothing}",
    )  # fmt: skip
    assert found == pytest.approx(loss.item(), abs=1e-5)
    assert_same_gradients(model, theirs)


def test_orpo_but_for_the_prompt_which_trl_learns_too(policy, preferences, chat_run):
    from trl.experimental.orpo import ORPOTrainer

    model, theirs = policy
    batch = padded(preferences)
    forward = ORPOTrainer.concatenated_forward

    def answers_only(self, model, batch):
        """The likelihood of the chosen answers, each a mean of its own, as in the paper."""
        logits = model(
            batch["chosen_input_ids"], attention_mask=batch["chosen_attention_mask"]
        ).logits
        means = self.get_batch_logps(logits, batch["chosen_labels"], average_log_prob=True)
        found = forward(self, model, batch)
        return (*found[:4], -means.mean())

    trainer = bare(ORPOTrainer, beta=0.4)
    trainer.concatenated_forward = answers_only.__get__(trainer)
    loss, _ = trainer.get_batch_loss_metrics(theirs, batch)
    loss.backward()
    found = ours(model, preferences, chat_run, "preference.method=orpo", "preference.beta=0.4")
    assert found == pytest.approx(loss.item(), abs=1e-5)
    assert_same_gradients(model, theirs)
