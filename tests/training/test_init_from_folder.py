"""A training that starts from somebody else's model: what it takes from there, what it leaves."""

import json
from unittest import mock

import pytest
import tokenizers
import torch
from brief import RATES, training_lines, transformers_logits, validation_lines
from conftest import SAMPLES
from torch.nn import functional as F

import xunlian
from xunlian.cli import main
from xunlian.data.packed import PackedRows
from xunlian.decoding.model import prepare_model
from xunlian.errors import InputError
from xunlian.interop.huggingface import load_model, read_config
from xunlian.runs.load import load_run
from xunlian.shards.corpus import open_corpus
from xunlian.tokenizer.tokenizer import load_tokenizer
from xunlian.training import decisions
from xunlian.training.checkpoint import load_checkpoint

transformers = pytest.importorskip("transformers")
from made_folder import (  # noqa: E402
    END,
    KINDS,
    PAIR_KINDS,
    START,
    TEMPLATE,
    save_folder,
    save_pair_folder,
)

TEXT = (SAMPLES / "shakespeare.txt").read_text("utf-8")[:60_000]
# As TINY, but for the shape, which comes from the folder.
SETTINGS = [
    "model.context=32",
    "training.batch_tokens=512",
    "training.precision=fp32",
    "training.compile=off",
    "training.threads=1",
    "model.dropout=0",
]


def start(folder, corpus, out, *settings, budget="1 steps"):
    settings = [
        f"corpus.path={corpus}",
        f"model.init_from={folder}",
        f"training.budget={budget}",
        *SETTINGS,
        *settings,
    ]
    with mock.patch.object(decisions, "measure_rates", lambda device: RATES):
        return xunlian.train(xunlian.Recipe(), settings, out=out)


def first_loss(run) -> float:
    """Computed before the first update, hence that of the weights the run started with."""
    return training_lines(run)[0]["loss"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of each kind, and Transformers' models of them. All have the same tokenizer."""
    place = tmp_path_factory.mktemp("folders")
    return place, {kind: save_folder(place / kind, kind, start=True) for kind in KINDS}


@pytest.fixture(scope="module")
def corpus(folders, tiny_text, tmp_path_factory):
    """A text in that tokenizer's tokens."""
    out = tmp_path_factory.mktemp("corpora") / "text"
    return xunlian.prepare(tiny_text, out=out, tokenizer=folders[0] / "llama", val=0.1).path


@pytest.mark.parametrize("kind", KINDS)
def test_it_starts_from_the_weights_learns_and_leaves_a_folder_of_the_same_class(
    kind, folders, corpus, tmp_path
):
    folder, theirs = folders[0] / kind, folders[1][kind]
    run = start(folder, corpus, tmp_path / "run", "training.validate_every=30", budget="30 steps")
    rows = PackedRows(open_corpus(corpus).stream("train"), 32, run.recipe.training.seed)
    inputs, targets = map(torch.from_numpy, rows.read(0, 512 // 32))
    with torch.no_grad():
        expected = F.cross_entropy(theirs(inputs).logits.flatten(0, 1), targets.flatten())
    assert first_loss(run) == pytest.approx(expected.item(), abs=1e-4)
    assert validation_lines(run)[-1]["val_loss"] < first_loss(run) - 1

    after = transformers.AutoModelForCausalLM.from_pretrained(run.model_folder)
    assert type(after) is type(theirs)
    assert after.config.vocab_size == 448  # rows beyond the tokenizer's 400 are kept
    ours = load_model(run.model_folder)
    torch.testing.assert_close(
        ours.logits(inputs), transformers_logits(run)(inputs), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("compile", ["off", pytest.param("on", marks=pytest.mark.slow)])
def test_the_fast_paths_train_the_new_layouts_too(compile, folders, corpus, tmp_path):
    plain = ["training.attention=sdpa"]
    settings = ["training.attention=matmul", f"training.compile={compile}"]
    eager = start(folders[0] / "qwen2", corpus, tmp_path / "eager", *plain, budget="3 steps")
    fast = start(folders[0] / "qwen2", corpus, tmp_path / "fast", *settings, budget="3 steps")
    assert fast.recipe.training.compile == compile
    for one, two in zip(training_lines(eager), training_lines(fast), strict=True):
        assert one["loss"] == pytest.approx(two["loss"], abs=1e-3)


def test_the_shape_and_what_no_recipe_names_come_from_the_folder(corpus, tmp_path):
    scaling = {
        "rope_type": "llama3",
        "rope_theta": 700.0,
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    }
    save_folder(tmp_path / "folder", "llama", rope_parameters=scaling, rms_norm_eps=1e-4)
    run = start(tmp_path / "folder", corpus, tmp_path / "run", "model.size=10m")
    assert read_config(run.model_folder) == read_config(tmp_path / "folder")
    model = run.recipe.model
    assert (model.architecture, model.depth, model.width, model.kv_heads) == ("llama", 2, 64, 2)
    assert (model.size, model.rope_theta, model.context) == (None, 700.0, 32)
    assert any("forgets less" in note for note in run.facts()["notes"])
    again = start(run.path, corpus, tmp_path / "again", "training.learning_rate=1e-4")
    assert read_config(again.model_folder) == read_config(tmp_path / "folder")
    assert not any("forgets less" in note for note in again.facts()["notes"])


def test_it_goes_on_after_a_checkpoint(corpus, folders, tmp_path):
    start(folders[0] / "llama", corpus, tmp_path / "run", budget="4 steps")
    before = load_model(tmp_path / "run" / "model").state_dict()
    with mock.patch.object(decisions, "measure_rates", lambda device: RATES):
        run = xunlian.train(
            tmp_path / "run", ["training.budget=8 steps"], out=tmp_path / "run", resume=True
        )
    after = load_model(run.model_folder).state_dict()
    assert run.facts()["step"] == 8
    assert any(not torch.equal(after[name], before[name]) for name in after)
    assert after["embedding.weight"].shape[0] == 448


def test_the_tokenizer_comes_over_with_its_names_and_template(folders, corpus, tmp_path):
    run = start(folders[0] / "llama", corpus, tmp_path / "run")
    theirs = transformers.AutoTokenizer.from_pretrained(folders[0] / "llama")
    for folder in (corpus, run.model_folder):
        ours = transformers.AutoTokenizer.from_pretrained(folder)
        assert ours.chat_template == TEMPLATE
        assert (ours.bos_token, ours.eos_token, ours.pad_token) == (START, END, "<|pad|>")
        text = "To be, or not to be: 生存还是毁灭?"
        assert ours(text).input_ids == theirs(text).input_ids
        talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
        assert ours.apply_chat_template(talk) == theirs.apply_chat_template(talk)


def test_a_template_in_the_configuration_comes_over_too(folders, tmp_path):
    folder = tmp_path / "older"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((folders[0] / "llama" / name).read_bytes())
    fields = json.loads((folder / "tokenizer_config.json").read_text())
    several = [{"name": "default", "template": TEMPLATE}, {"name": "tool_use", "template": "no"}]
    for template in (TEMPLATE, several):
        (folder / "tokenizer_config.json").write_text(
            json.dumps(fields | {"chat_template": template})
        )
        assert load_tokenizer(folder).chat_template == TEMPLATE


@pytest.fixture(scope="module")
def longer_corpus(folders, tiny_text, tmp_path_factory):
    """The corpus of a tokenizer with more tokens than the folders have rows for."""
    place = tmp_path_factory.mktemp("longer")
    backend = tokenizers.Tokenizer.from_file(str(folders[0] / "llama" / "tokenizer.json"))
    backend.add_special_tokens([f"<|new{i}|>" for i in range(60)])
    (place / "tokenizer").mkdir()
    backend.save(str(place / "tokenizer" / "tokenizer.json"))
    (place / "tokenizer" / "tokenizer_config.json").write_text(json.dumps({"eos_token": END}))
    xunlian.prepare(tiny_text, out=place / "corpus", tokenizer=place / "tokenizer", val=0.1)
    return place / "corpus"


@pytest.mark.parametrize("kind", ["llama", "gpt2"])  # untied and tied
def test_new_tokens_get_rows_that_hardly_change_what_was_known(
    kind, folders, longer_corpus, tmp_path
):
    assert open_corpus(longer_corpus).vocab_size == 460
    still = ["training.learning_rate=1e-30", "training.optimizer=adamw"]
    run = start(folders[0] / kind, longer_corpus, tmp_path / "run", *still)
    model, theirs = load_model(run.model_folder), folders[1][kind]
    assert model.config.vocab_size == 460
    tokens = torch.randint(3, 400, (4, 20), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, before = model.logits(tokens), theirs(tokens).logits
    torch.testing.assert_close(ours[..., :400], before[..., :400], atol=1e-4, rtol=0)
    new, mean = ours[..., 400:], before[..., :400].mean(-1, keepdim=True)
    assert (new - mean).abs().max() < 0.1 * before[..., :400].std()
    for name in ("embedding.weight", "head.weight")[: 1 if model.config.tied else 2]:
        table = model.state_dict()[name]
        known = table[:400]
        assert (table[400:] - known.mean(0)).abs().max() < 0.1 * known.std()
        assert len(table[400:].unique(dim=0)) == 60
    assert transformers_logits(run)(tokens).shape[-1] == 460


def test_added_tokens_take_the_rows_that_were_padding(folders, tiny_text, tmp_path):
    backend = tokenizers.Tokenizer.from_file(str(folders[0] / "llama" / "tokenizer.json"))
    backend.add_special_tokens(["<|user|>", "<|assistant|>"])
    backend.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": END}))
    xunlian.prepare(
        tiny_text, out=tmp_path / "corpus", tokenizer=tmp_path / "tokenizer.json", val=0.1
    )
    run = start(folders[0] / "llama", tmp_path / "corpus", tmp_path / "run")
    assert read_config(run.model_folder).vocab_size == 448
    assert run.facts()["vocab_size"] == 448


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("llama", ["model.width=96"], "width = 64, the recipe 96"),
        ("llama", ["model.architecture=qwen3"], "architecture = llama, the recipe qwen3"),
        ("llama", ["model.family=gru"], "family = transformer, the recipe gru"),
        ("llama", ["model.tied=true"], "tied = False, the recipe True"),
        ("mistral", ["model.context=64"], "at most 48 tokens"),
        ("gpt2", ["model.context=128"], "at most 64 tokens"),
        ("llama", ["task=translation"], "holds text"),
    ],
)
def test_a_recipe_that_contradicts_the_folder_is_told(
    kind, settings, said, folders, corpus, tmp_path
):
    with pytest.raises(InputError) as error:
        start(folders[0] / kind, corpus, tmp_path / "run", *settings)
    assert said in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_corpus_of_another_tokenizer_is_refused_with_status_2(
    folders, tiny_corpus, tmp_path, capsys
):
    folder = folders[0] / "qwen2"
    arguments = [f"corpus.path={tiny_corpus}", f"model.init_from={folder}", *SETTINGS]
    assert main(["train", "small", *arguments, "--out", str(tmp_path / "run")]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "another tokenizer" in last and f"--tokenizer {folder}" in last
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("damage", ["pickled", "quantized", "unknown"])
def test_a_folder_that_cannot_be_taken_is_told_in_one_line(damage, corpus, tmp_path, capsys):
    folder = tmp_path / "folder"
    model = save_folder(folder, "llama")
    config = json.loads((folder / "config.json").read_text())
    if damage == "pickled":
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    elif damage == "quantized":
        config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    else:
        config["model_type"] = "deepseek_v3"
    (folder / "config.json").write_text(json.dumps(config))
    arguments = [f"corpus.path={corpus}", f"model.init_from={folder}", *SETTINGS]
    assert main(["train", "small", *arguments, "--out", str(tmp_path / "run")]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert {"pickled": "pickled", "quantized": "quantized", "unknown": "llama"}[damage] in last
    assert not (tmp_path / "run").exists()


def test_every_verb_takes_the_folder_itself(folders, tmp_path, capsys):
    folder = str(folders[0] / "llama")
    assert main(["info", folder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["model_type"] == "llama"
    (tmp_path / "text.txt").write_text("First Citizen: We are accounted poor citizens.")
    assert main(["evaluate", folder, "--data", str(tmp_path / "text.txt"), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    ids = load_tokenizer(folder).encode("First Citizen: We are accounted poor citizens.")
    with torch.no_grad():  # its texts begin with a token of their own
        logits = folders[1]["llama"](torch.tensor([[2, *ids]])).logits[0]
    expected = F.cross_entropy(logits, torch.tensor([*ids, 1])).exp().item()
    assert scores["perplexity"] == pytest.approx(expected, rel=1e-3)
    assert main(["generate", folder, "--prompt", "Before we", "--max-tokens", "4"]) == 0
    assert capsys.readouterr().out.startswith("Before we")


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_continuations_are_those_of_transformers(kind, folders):
    model = prepare_model(load_run(folders[0] / kind), "fp32")
    found = model.generate(["Before we", "ROMEO: but soft,"], max_tokens=12, temperature=0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders[0] / kind)
    for prompt, text in zip(["Before we", "ROMEO: but soft,"], found, strict=True):
        inputs = tokenizer(prompt, return_tensors="pt")
        ids = folders[1][kind].generate(
            **{name: inputs[name] for name in ("input_ids", "attention_mask")},
            max_new_tokens=12,
            do_sample=False,
        )[0, inputs.input_ids.shape[1] :]
        # Half a character at the end is held back.
        assert text == tokenizer.decode(ids, skip_special_tokens=True).rstrip("\ufffd")


@pytest.fixture(scope="module")
def pair_corpus(tmp_path_factory):
    """Short words and the same in capitals, in the tokens of an encoder-decoder's folder."""
    place = tmp_path_factory.mktemp("pairs")
    save_pair_folder(place / "folder", "pegasus")
    words = sorted({word for word in TEXT.lower().split() if word.isalpha()})[:400]
    lines = [f"{word}\t{word.upper()}\n" for word in words]
    (place / "train.tsv").write_text("".join(lines[:-40]))
    (place / "val.tsv").write_text("".join(lines[-40:]))
    return xunlian.prepare(
        place / "train.tsv",
        pairs=True,
        val=place / "val.tsv",
        out=place / "corpus",
        tokenizer=place / "folder",
        workers=1,
    ).path


@pytest.mark.parametrize("kind", PAIR_KINDS)
def test_an_encoder_decoder_learns_on_and_stays_of_its_class(kind, pair_corpus, tmp_path):
    fields = {"activation_function": "swish"} if kind == "marian" else {}
    theirs = save_pair_folder(tmp_path / "theirs", kind, bias=kind == "marian", **fields)
    run = start(
        tmp_path / "theirs",
        pair_corpus,
        tmp_path / "run",
        "task=translation",
        "training.validate_every=20",
        "training.label_smoothing=0",
        budget="40 steps",
    )
    assert validation_lines(run)[-1]["val_loss"] < first_loss(run) - 0.5
    after = transformers.AutoModelForSeq2SeqLM.from_pretrained(run.model_folder).eval()
    assert type(after) is type(theirs)
    assert torch.equal(after.final_logits_bias, theirs.final_logits_bias)  # it does not learn
    ours = load_model(run.model_folder)
    source, target = torch.randint(3, 400, (2, 9)), torch.randint(3, 400, (2, 5))
    with torch.no_grad():
        hidden = ours(source, torch.zeros_like(source), target, torch.zeros_like(target))
        expected = after(input_ids=source, decoder_input_ids=target).logits
    torch.testing.assert_close(hidden @ ours.head_weight.t(), expected, atol=1e-4, rtol=0)


def test_a_fixed_bias_of_the_logits_stays_when_a_training_goes_on(pair_corpus, tmp_path):
    theirs = save_pair_folder(tmp_path / "theirs", "marian", bias=True)
    assert theirs.final_logits_bias.any()
    start(tmp_path / "theirs", pair_corpus, tmp_path / "run", "task=translation", budget="2 steps")
    run = xunlian.train(tmp_path / "run", ["training.budget=4 steps"], resume=True)
    weights, _, state = load_checkpoint(run.checkpoints)
    assert state["step"] == 4
    after = transformers.AutoModelForSeq2SeqLM.from_pretrained(run.model_folder)
    for bias in (weights["head_bias"], after.final_logits_bias):
        assert torch.equal(bias, theirs.final_logits_bias)


def test_a_folder_is_for_its_own_task(pair_corpus, folders, tmp_path):
    with pytest.raises(InputError, match="is a language model"):
        start(folders[0] / "llama", pair_corpus, tmp_path / "run", "task=translation")
    save_pair_folder(tmp_path / "other", "marian", decoder_start_token_id=1)
    with pytest.raises(InputError, match="targets start with token 1"):
        start(tmp_path / "other", pair_corpus, tmp_path / "run", "task=translation")
    assert not (tmp_path / "run").exists()
