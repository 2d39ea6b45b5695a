"""Training on conversations: packed, masked and accumulated, as if they came one by one."""

import json
import math

import numpy as np
import pytest
import torch
from brief import training_lines
from conftest import SAMPLES, TINY
from test_resume import assert_same_run
from torch.nn import functional as F

import xunlian
from xunlian.errors import InputError
from xunlian.interop.huggingface import load_model
from xunlian.models.decoder import embedding_noise
from xunlian.shards.corpus import open_corpus
from xunlian.tokenizer.chat import LEARNED, load_chat
from xunlian.training import decisions, objectives, setup
from xunlian.training.networks import build_model
from xunlian.training.parallel import Group

pytestmark = pytest.mark.usefixtures("no_measuring")

CHAT = [*TINY, "task=chat", "model.context=128", "model.dropout=0"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    out = tmp_path_factory.mktemp("chat") / "corpus"
    return xunlian.prepare(SAMPLES / "chat.en.jsonl", chat=True, out=out, val=0.1)


def resolved(corpus, *settings):
    recipe = xunlian.load_recipe(xunlian.Recipe(), [*CHAT, *settings])
    group = Group(0, 1, torch.device("cpu"))
    decided = decisions.decide(
        recipe,
        vocab_size=corpus.vocab_size,
        corpus_tokens=corpus.tokens("train"),
        machine=decisions.read_machine(),
        group=group,
    )
    return decided.recipe, group


def one_by_one(model, corpus):
    """The summed loss of every conversation's answers, each alone, without our loss or packing."""
    tokens, marks = corpus.stream("train"), corpus.stream("train", "mask")
    total, count = torch.zeros(()), 0
    for start, stop in tokens.spans():
        ids = torch.from_numpy(tokens.read(start, stop))
        learned = torch.from_numpy(marks.read(start, stop) & LEARNED).bool()[1:]
        logits = model.logits(ids[None, :-1])[0]
        losses = F.cross_entropy(logits, ids[1:], reduction="none")
        total, count = total + losses[learned].sum(), count + int(learned.sum())
    return total, count


@pytest.mark.parametrize("form", ["matmul", "sdpa"])
@pytest.mark.parametrize("architecture", ["qwen3", "gpt2"])
def test_loss_and_gradients_are_those_of_conversations_one_by_one(corpus, form, architecture):
    recipe, group = resolved(
        corpus, f"training.attention={form}", f"model.architecture={architecture}",
        "training.micro_batch_tokens=256", "training.grad_clip=0",
    )  # fmt: skip
    model = build_model(recipe, corpus.vocab_size)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(5)
        for parameter in model.parameters():  # nothing at zero, where gradients vanish
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
    wanted, count = one_by_one(model, corpus)
    wanted.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    largest = max(gradient.abs().max() for gradient in gradients.values())
    model.zero_grad()
    rows = objectives.objective_of(recipe, corpus).rows
    assert rows.left_out == rows.cut == 0
    stepper = setup.build_stepper(recipe, model.train(), group)
    batch = rows.read(0, rows.rows_per_epoch)
    assert int((batch[-1] >= 0).sum()) == count
    for micro_rows in (1, 2, rows.rows_per_epoch):
        stepper.micro_rows = micro_rows
        loss = stepper.backward(batch)
        assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
        for name, parameter in model.named_parameters():
            # Of a key's bias the gradient is zero, but for rounding.
            size = largest if name.endswith("key.bias") else gradients[name].abs().max()
            assert (parameter.grad - gradients[name]).abs().max() < 1e-5 * size, (name, micro_rows)
        model.zero_grad()


def test_noise_is_that_of_the_paper():
    torch.manual_seed(1)
    x = torch.zeros(2, 6, 16)
    lengths = torch.tensor([[2, 2, 4, 4, 4, 4], [6] * 6]).unsqueeze(-1)
    noise = embedding_noise(x, lengths, 5.0)
    torch.manual_seed(1)
    uniform = torch.rand(2, 6, 16) * 2 - 1
    for b, i, length in ((0, 0, 2), (0, 5, 4), (1, 3, 6)):
        torch.testing.assert_close(noise[b, i], uniform[b, i] * 5 / math.sqrt(length * 16))


def test_noise_falls_on_training_alone_and_knows_each_conversations_length(corpus):
    recipe, _ = resolved(corpus, "training.neftune_alpha=5", "training.precision=fp32")
    model = build_model(recipe, corpus.vocab_size)
    objectives.loss_of(recipe, model, torch.float32)
    objective = objectives.objective_of(recipe, corpus)
    inputs, numbers, positions, _ = (torch.from_numpy(array) for array in objective.rows.read(0, 1))
    seen = []
    model.blocks[0].register_forward_hook(lambda _, given, __: seen.append(given[0].detach()))
    for mode in (False, True):
        model.train(mode).confined(inputs, numbers, positions)
    assert torch.equal(seen[0], model.embedding(inputs))
    largest = (seen[1] - seen[0]).abs().amax(-1)[0]
    for number in numbers[0].unique():
        here = numbers[0] == number
        bound = 5 / math.sqrt(int(here.sum()) * model.config.width)
        assert 0.8 * bound < largest[here].max() <= bound


def test_it_learns_the_answers_by_heart_and_transformers_says_them(corpus, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = xunlian.train(
        xunlian.Recipe(),
        [f"corpus.path={corpus.path}", *CHAT, "training.budget=70 steps", "model.context=256",
         "training.learning_rate=0.02", "decoding.temperature=0"],
        out=tmp_path / "run",
    )  # fmt: skip
    assert training_lines(run)[-1]["loss"] < 0.5
    weights = sorted(run.checkpoints.glob("step-*"))[-1] / "model.safetensors"
    model = AutoModelForCausalLM.from_pretrained(run.model_folder)
    theirs = AutoTokenizer.from_pretrained(run.model_folder)
    assert weights.is_file() and theirs.eos_token == "<|im_end|>"
    said = [{"role": "user", "content": "When are you open?"}]
    asked = theirs.apply_chat_template(
        said, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = model.generate(**asked, do_sample=False, max_new_tokens=60)
    text = theirs.decode(answer[0, asked["input_ids"].shape[1] :], skip_special_tokens=True)
    assert xunlian.chat(run.path, said, precision="fp32", max_tokens=60) == text


def test_a_stopped_run_goes_on_bit_by_bit(corpus, tmp_path):
    settings = [
        f"corpus.path={corpus.path}", *CHAT, "model.dropout=0.1", "training.neftune_alpha=5",
        "training.checkpoint_every=4", "training.validate_every=3", "training.log_every=2",
    ]  # fmt: skip
    whole = xunlian.train(xunlian.Recipe(), [*settings, "training.budget=7 steps"],
                          out=tmp_path / "whole")  # fmt: skip
    from xunlian.training.loop import Loop

    class Stop(Exception):
        pass

    written = Loop._checkpoint

    def stop_at_4(self):
        written(self)
        if self.progress.step == 4:
            raise Stop

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Loop, "_checkpoint", stop_at_4)
        xunlian.train(xunlian.Recipe(), [*settings, "training.budget=7 steps"],
                      out=tmp_path / "stopped")  # fmt: skip
    xunlian.train(tmp_path / "stopped", resume=True)
    assert_same_run(whole.path, tmp_path / "stopped")


def test_a_model_of_text_is_fine_tuned_with_tokens_it_did_not_have(tiny_run, tmp_path):
    corpus = xunlian.prepare(
        SAMPLES / "chat.en.jsonl", chat=True, out=tmp_path / "corpus", tokenizer=tiny_run, val=0.1
    )
    run = xunlian.train(
        xunlian.Recipe(),
        [f"corpus.path={corpus.path}", "task=chat", f"model.init_from={tiny_run}",
         "model.context=256", "training.batch_tokens=1024", "training.budget=2 steps",
         "training.learning_rate=1e-9", "training.embedding_learning_rate=1e-9",
         "training.head_learning_rate=1e-9", "training.norm_learning_rate=1e-9",
         "training.precision=fp32", "training.compile=off", "training.threads=1"],
        out=tmp_path / "run",
    )  # fmt: skip
    before, after = load_model(tiny_run / "model"), load_model(run.model_folder)
    known = before.config.vocab_size
    assert after.config.vocab_size == known + 2
    gap = (after.embedding.weight[:known] - before.embedding.weight).abs().max()
    assert gap < 1e-4
    assert load_chat(run.model_folder) is not None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["task=language-model"], r"holds conversations. Say task=chat"),
        (["model.family=lstm"], r"model.family = lstm is not for task = chat"),
        (["model.architecture=speedrun"], r"model.architecture = speedrun is not for task = chat"),
        (["model.context=8"], r"longer than model.context = 8"),
        (["training.neftune_alpha=-1"], r"neftune_alpha"),
    ],
)
def test_what_does_not_go_with_conversations_is_refused(corpus, tmp_path, settings, said):
    with pytest.raises(InputError, match=said) as error:
        xunlian.train(
            xunlian.Recipe(), [f"corpus.path={corpus.path}", *CHAT, *settings], out=tmp_path / "run"
        )
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


def test_what_is_too_long_is_told(corpus, tmp_path, capsys):
    long = [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "word " * 400}]
    turns = [
        m
        for i in range(30)
        for m in (
            {"role": "user", "content": f"Question {i}"},
            {"role": "assistant", "content": f"Yes {i}"},
        )
    ]
    file = tmp_path / "long.jsonl"
    shop = (SAMPLES / "chat.en.jsonl").read_text("utf-8")
    file.write_text(shop + "".join(json.dumps({"messages": m}) + "\n" for m in (long, turns)))
    made = xunlian.prepare(file, chat=True, out=tmp_path / "corpus", val=0)
    run = xunlian.train(
        xunlian.Recipe(),
        [f"corpus.path={made.path}", *CHAT, "training.budget=1 steps"],
        out=tmp_path / "run",
    )
    notes = " ".join(run.facts()["notes"])
    assert "1 conversations lose their oldest turns: longer than model.context = 128" in notes
    assert "1 conversations are left out: longer than model.context = 128" in notes


def test_held_out_conversations_that_are_all_too_long_leave_nothing_to_validate(tmp_path):
    long = [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "word " * 400}]
    (tmp_path / "val.jsonl").write_text(json.dumps(long))
    made = xunlian.prepare(
        SAMPLES / "chat.en.jsonl", chat=True, out=tmp_path / "corpus", val=tmp_path / "val.jsonl"
    )
    recipe, _ = resolved(made)
    objective = objectives.objective_of(recipe, made)
    assert objective.validation is None
    assert any("Nothing is validated" in note for note in objective.notes)


def test_evaluate_gives_the_perplexity_of_held_out_answers(corpus, tmp_path):
    run = xunlian.train(
        xunlian.Recipe(), [f"corpus.path={corpus.path}", *CHAT, "training.budget=5 steps"],
        out=tmp_path / "run",
    )  # fmt: skip
    found = xunlian.evaluate(run.path)
    model = load_model(run.model_folder)
    stream, marks = corpus.stream("val"), corpus.stream("val", "mask")
    nats, count, text = 0.0, 0, ""
    chat = load_chat(run.model_folder)
    for start, stop in stream.spans():
        ids = torch.from_numpy(stream.read(start, stop))
        learned = (marks.read(start, stop) & LEARNED).astype(bool)
        with torch.no_grad():
            log_p = model.logits(ids[None, :-1])[0].log_softmax(-1)
        places = np.flatnonzero(learned[1:])
        nats -= float(log_p[places, ids[1:][places]].sum())
        count += len(places)
        text += chat.tokenizer.decode(ids[torch.from_numpy(learned)])
    assert found["scores"]["loss"] == pytest.approx(nats / count, rel=1e-5)
    assert found["scores"]["bits_per_byte"] == pytest.approx(
        nats / len(text.encode()) / math.log(2), rel=1e-5
    )
    assert (found["tokens"], found["documents"]) == (count, 7)
    # The same conversations as a file score the same.
    shop = (SAMPLES / "chat.en.jsonl").read_text("utf-8").splitlines()
    held_out = [chat.tokenizer.backend.decode(stream.read(a, b), skip_special_tokens=False)
                for a, b in stream.spans()]  # fmt: skip
    lines = [line for line in shop
             if chat.rendered(json.loads(line)["messages"]).text in held_out]  # fmt: skip
    (tmp_path / "val.jsonl").write_text("\n".join(lines))
    again = xunlian.evaluate(run.path, tmp_path / "val.jsonl")
    assert again["scores"] == pytest.approx(found["scores"])
    assert again["documents"] == 7


def test_a_corpus_of_conversations_is_opened_with_its_mask(corpus):
    again = open_corpus(corpus.path)
    again.verify()
    tokens, marks = again.stream("train"), again.stream("train", "mask")
    assert len(tokens) == len(marks) == again.tokens("train")
    learned = int((marks.read(0, len(marks)) & LEARNED).sum())
    assert learned == again.split_card("train")["answer_tokens"]
