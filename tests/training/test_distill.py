"""Learning from a bigger model: the right loss in every task, in a training that can be resumed."""

import json
import shutil

import pytest
import torch
from brief import train, training_lines, validation_lines
from conftest import SAMPLES, TINY
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

import xunlian
from xunlian.errors import InputError
from xunlian.evaluation.perplexity import StreamValidation
from xunlian.runs.load import load_run
from xunlian.shards.corpus import open_corpus
from xunlian.studies.plan import plan_for_card
from xunlian.tokenizer.chat import LEARNED
from xunlian.training import decisions, objectives, setup
from xunlian.training.networks import build_model
from xunlian.training.parallel import Group

pytestmark = pytest.mark.usefixtures("no_measuring")

STUDENT = ["model.depth=1", "model.width=32", "model.dropout=0"]
TEMPERATURE, HARD_WEIGHT = 2.0, 0.3


@pytest.fixture(scope="module")
def chat_corpus(tmp_path_factory):
    out = tmp_path_factory.mktemp("chat") / "corpus"
    return xunlian.prepare(SAMPLES / "chat.en.jsonl", chat=True, out=out, val=0.1)


@pytest.fixture(scope="module")
def chat_teacher(chat_corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("teacher") / "run"
    settings = ["task=chat", "model.context=128", "training.budget=3 steps"]
    return train(chat_corpus.path, out, *settings).path


def prepared(corpus, *settings):
    """A stepper of a student whose every weight matters, and the rows of its objective."""
    recipe = xunlian.load_recipe(xunlian.Recipe(), [*TINY, *STUDENT, *settings])
    group = Group(0, 1, torch.device("cpu"))
    recipe = decisions.decide(
        recipe,
        vocab_size=corpus.vocab_size,
        corpus_tokens=corpus.tokens("train"),
        machine=decisions.read_machine(),
        group=group,
    ).recipe
    model = build_model(recipe, corpus.vocab_size)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
    rows = objectives.objective_of(recipe, corpus).rows
    return setup.build_stepper(recipe, model.train(), group), rows


def taught_loss(logits, taught, targets):
    """The formula of arXiv 1503.02531, summed."""
    logits, taught = logits.double(), taught.double()
    hard = F.cross_entropy(logits, targets, reduction="sum")
    student = (logits / TEMPERATURE).log_softmax(-1)
    teacher = (taught / TEMPERATURE).softmax(-1)
    soft = (teacher * (teacher.log() - student)).sum()
    return HARD_WEIGHT * hard + (1 - HARD_WEIGHT) * TEMPERATURE**2 * soft


def assert_is_the_loss_of(stepper, batch, wanted):
    wanted.backward()
    model = stepper.model
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    largest = max(gradient.abs().max() for gradient in gradients.values())
    for micro_rows in (1, len(batch[-1])):
        model.zero_grad()
        stepper.micro_rows = micro_rows
        assert stepper.backward(batch).item() == pytest.approx(wanted.item(), rel=1e-5)
        for name, parameter in model.named_parameters():
            # Of a key's bias the gradient is zero, but for rounding.
            size = largest if name.endswith("key.bias") else gradients[name].abs().max()
            assert (parameter.grad - gradients[name]).abs().max() < 1e-5 * size, name


def lesson(teacher):
    return [
        f"distill.teacher={teacher}",
        f"distill.temperature={TEMPERATURE}",
        f"distill.hard_weight={HARD_WEIGHT}",
    ]


def test_loss_and_gradients_of_a_text(tiny_corpus, tiny_run):
    stepper, rows = prepared(open_corpus(tiny_corpus), *lesson(tiny_run))
    batch = rows.read(0, 4)
    inputs, targets = (torch.from_numpy(array) for array in batch)
    with torch.no_grad():
        taught = load_run(tiny_run).model.logits(inputs)
    logits = stepper.model.logits(inputs)
    wanted = taught_loss(logits.flatten(0, 1), taught.flatten(0, 1), targets.flatten())
    assert_is_the_loss_of(stepper, batch, wanted)


def test_loss_and_gradients_of_conversations_are_those_of_answers_one_by_one(
    chat_corpus, chat_teacher
):
    stepper, rows = prepared(
        chat_corpus, *lesson(chat_teacher), "task=chat", "model.context=128",
        "training.micro_batch_tokens=256",
    )  # fmt: skip
    teacher = load_run(chat_teacher).model
    tokens, marks = chat_corpus.stream("train"), chat_corpus.stream("train", "mask")
    wanted = torch.zeros((), dtype=torch.float64)
    for start, stop in tokens.spans():
        ids = torch.from_numpy(tokens.read(start, stop))
        learned = torch.from_numpy(marks.read(start, stop) & LEARNED).bool()[1:]
        with torch.no_grad():
            taught = teacher.logits(ids[None, :-1])[0]
        logits = stepper.model.logits(ids[None, :-1])[0]
        wanted = wanted + taught_loss(logits[learned], taught[learned], ids[1:][learned])
    assert_is_the_loss_of(stepper, rows.read(0, rows.rows_per_epoch), wanted)


def test_a_student_of_translations_learns_from_an_encoder_decoder(tmp_path):
    (tmp_path / "pairs.tsv").write_text("".join(f"a{i} b\tc d{i}\n" for i in range(60)))
    corpus = xunlian.prepare(
        tmp_path / "pairs.tsv", pairs=True, out=tmp_path / "corpus", tokenizer="char", val=0.1
    )
    task = ["task=translation", "training.budget=2 steps"]
    teacher = train(corpus.path, tmp_path / "teacher", *task).path
    stepper, rows = prepared(
        corpus, *lesson(teacher), "task=translation", "training.label_smoothing=0"
    )
    batch = rows.read(0, 2)
    arrays = [torch.from_numpy(array) for array in batch]
    real = arrays[-1] >= 0
    model, big = stepper.model, load_run(teacher).model
    with torch.no_grad():
        taught = big(*arrays[:-1], torch.float32)[real] @ big.head_weight.t()
    logits = model(*arrays[:-1], torch.float32)[real] @ model.head_weight.t()
    assert_is_the_loss_of(stepper, batch, taught_loss(logits, taught, arrays[-1][real]))


@pytest.fixture(scope="module")
def taught(tiny_corpus, tiny_run, tmp_path_factory):
    """A run that learned from nothing but its teacher."""
    settings = [
        f"distill.teacher={tiny_run}", "distill.hard_weight=0", "training.checkpoint_every=5",
        "training.budget=12 steps", "training.keep_checkpoints=9",
    ]  # fmt: skip
    return train(tiny_corpus, tmp_path_factory.mktemp("taught") / "run", *STUDENT, *settings)


def test_what_is_minimized_falls_and_what_is_validated_is_the_text(taught, tiny_corpus):
    lines = training_lines(taught)
    assert lines[-1]["loss"] < 0.6 * lines[0]["loss"]
    validation = StreamValidation(open_corpus(tiny_corpus).stream("val"), 32)
    nats, tokens = validation.nats(load_run(taught.path).model, 0, validation.parts, torch.float32)
    best = min(line["val_loss"] for line in validation_lines(taught))
    assert nats / tokens == pytest.approx(best, abs=1e-4)


def test_the_teacher_learns_nothing_and_drops_nothing(tiny_corpus, tiny_run):
    stepper, rows = prepared(open_corpus(tiny_corpus), *lesson(tiny_run))
    teacher = stepper.teacher.model
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    assert not teacher.training and not any(p.requires_grad for p in teacher.parameters())
    stepper.step(rows.read(0, 4), 1.0, 1.0)
    for name, tensor in teacher.state_dict().items():
        assert torch.equal(tensor, before[name])


def cut(taught, out):
    shutil.copytree(taught.path, out)
    for name in ("step-00000010", "step-00000012"):
        shutil.rmtree(out / "checkpoints" / name)


def test_a_resumed_run_ends_bit_identically(taught, tmp_path):
    cut(taught, tmp_path / "cut")
    xunlian.train(tmp_path / "cut", resume=True)
    part = "checkpoints/step-00000012/model.safetensors"
    one, two = (load_file(path / part) for path in (taught.path, tmp_path / "cut"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_teacher_that_changed_meanwhile_is_refused(taught, tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "teacher")
    weights = tmp_path / "teacher" / "model" / "model.safetensors"
    save_file({name: tensor + 0.01 for name, tensor in load_file(weights).items()}, weights)
    cut(taught, tmp_path / "cut")
    recipe = tmp_path / "cut" / "recipe.toml"
    text = recipe.read_text("utf-8")
    old, new = (json.dumps(str(path)) for path in (tiny_run, tmp_path / "teacher"))
    assert old in text
    recipe.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(InputError, match="has other weights than when the run"):
        xunlian.train(tmp_path / "cut", resume=True)


def refusal(corpus, out, *settings):
    with pytest.raises(InputError) as error:
        train(corpus, out, *STUDENT, "training.budget=1 steps", *settings)
    assert "\n" not in str(error.value) and not out.exists()
    return str(error.value)


def test_what_does_not_go_together_is_refused(
    tiny_corpus, tiny_run, chat_corpus, chat_teacher, tmp_path
):
    out, teacher = tmp_path / "run", f"distill.teacher={tiny_run}"
    assert "There is no run" in refusal(tiny_corpus, out, "distill.teacher=runs/none")
    assert "distill.teacher is missing" in refusal(tiny_corpus, out, "distill.temperature=2")
    message = refusal(tiny_corpus, out, f"distill.teacher={chat_teacher}")
    assert "another tokenizer" in message and f"--tokenizer {chat_teacher / 'model'}" in message
    message = refusal(tiny_corpus, out, teacher, "model.family=gru")
    assert "model.family is gru" in message
    recurrent = train(
        tiny_corpus, tmp_path / "gru", "model.family=gru", "training.budget=1 steps"
    ).path
    message = refusal(tiny_corpus, out, f"distill.teacher={recurrent}")
    assert "is no Transformer that goes on with text" in message
    message = refusal(tiny_corpus, out, teacher, "model.context=64")
    assert "reads at most 32 tokens" in message and "model.context=32" in message


def test_the_teacher_counts_in_memory_and_arithmetic(tiny_corpus, tiny_run):
    corpus = open_corpus(tiny_corpus)
    size = sum(p.numel() for p in load_run(tiny_run).model.parameters())
    recipe = xunlian.load_recipe(xunlian.Recipe(), [*TINY, *STUDENT, "training.budget=9 steps"])
    lone, both = (
        plan_for_card(each, "h100", corpus.vocab_size, corpus.tokens("train"))
        for each in (recipe, xunlian.load_recipe(recipe, lesson(tiny_run)))
    )
    assert both["memory"]["teacher"] == 2 * size and "teacher" not in lone["memory"]
    forward = 2 * (size - corpus.vocab_size * 64) * both["tokens"]  # the embedding multiplies not
    attention = 2 * 2 * 64 * 32 * both["tokens"]
    assert both["flops"] - lone["flops"] == pytest.approx(forward + attention, rel=0.02)
    stepper, _ = prepared(corpus, *lesson(tiny_run))
    alone, _ = prepared(corpus)
    assert stepper.live_bytes() - alone.live_bytes() == 4 * size
