"""generate as a user runs it: prompts in, text out, and one line for what is wrong."""

import io
import json
import shutil

import pytest
from conftest import xunlian_command
from made_decoder import reciting
from made_run import byte_tokenizer, make_corpus, make_run, tree

import xunlian
from xunlian import cli
from xunlian.errors import InputError
from xunlian.interop.huggingface import write_config, write_weights

FP32 = ["--precision", "fp32"]
TALE = "从前🙂有人。\nThe end."


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generate")
    return make_run(folder / "tales-1", make_corpus(folder / "tales"))


@pytest.fixture(scope="module")
def model(run):
    return xunlian.load(run, precision="fp32")


@pytest.fixture(scope="module")
def reciter(tmp_path_factory):
    """A Hugging Face folder whose model recites a tale after a prompt of one byte."""
    folder = tmp_path_factory.mktemp("reciter")
    tokenizer = byte_tokenizer()
    ids = [*tokenizer.encode(TALE), tokenizer.end_id]
    decoder = reciting(ids, tokenizer.vocab_size)
    write_config(folder, decoder.config, tokenizer.end_id)
    write_weights(folder / "model.safetensors", decoder)
    tokenizer.save(folder)
    return folder


def command(*arguments, capsys):
    """What `xunlian generate` in fp32 prints."""
    assert cli.main(["generate", *map(str, arguments), *FP32]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def failing(*arguments, capsys):
    """The one line of a command that is refused with status 2."""
    try:
        status = cli.main(["generate", *map(str, arguments)])
    except SystemExit as error:  # argparse
        status = error.code
    assert status == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("xunlian generate: ")
    return err


GREEDY = ["--temperature", "0"]


def test_a_user_reads_prompt_and_text_and_nothing_else(reciter):
    done = xunlian_command("generate", reciter, "--prompt", "x", *GREEDY, *FP32)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"x{TALE}\n", "")


def test_no_prompt_begins_a_new_text(reciter, capsys):
    assert command(reciter, *GREEDY, capsys=capsys) == f"{TALE}\n"


def test_max_tokens_and_stop_strings_end_a_text(reciter, capsys):
    said = command(reciter, "--prompt", "x", *GREEDY, "--max-tokens", 12, capsys=capsys)
    assert said == "x从前🙂\n"  # the next character is incomplete
    for stops, shown in ((["。"], "从前🙂有人"), (["The", "🙂"], "从前"), (["none"], TALE)):
        flags = [flag for stop in stops for flag in ("--stop", stop)]
        assert command(reciter, "--prompt", "x", *GREEDY, *flags, capsys=capsys) == f"x{shown}\n"


def test_several_prompts_are_printed_one_after_the_other(reciter, capsys):
    said = command(reciter, "--prompt", "x", "--prompt", "y", *GREEDY, capsys=capsys)
    assert said == f"x{TALE}\n{'-' * 40}\ny{TALE}\n"


def test_prompts_may_come_from_a_file_or_from_standard_input(
    reciter, tmp_path, monkeypatch, capsys
):
    file = tmp_path / "prompts.txt"
    # U+2028 is a line separator to Python's splitlines, but text in a line of ours.
    lines = "\ufeffa\r\n\n  \nb\u2028b\n".encode()
    file.write_bytes(lines)
    expected = command(reciter, "--prompt", "a", "--prompt", "b\u2028b", *GREEDY, capsys=capsys)
    assert command(reciter, "--prompts-file", file, *GREEDY, capsys=capsys) == expected
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines)))
    assert command(reciter, "--prompts-file", "-", *GREEDY, capsys=capsys) == expected
    both = command(reciter, "--prompts-file", file, "--prompt", "c", *GREEDY, capsys=capsys)
    assert both.startswith(f"c{TALE}\n") and both.count("-" * 40) == 2


def test_json_tells_settings_texts_and_why_they_ended(reciter, capsys):
    flags = ["--prompt", "x", "--prompt", "", "--json", *GREEDY, "--stop", "end", "--seed", 3]
    found = json.loads(command(reciter, *flags, "--max-tokens", 90, capsys=capsys))
    assert found["run"] == str(reciter) and found["precision"] == "fp32"
    assert found["settings"] == {
        "max_tokens": 90,
        "temperature": 0.0,
        "top_k": 0,
        "top_p": 0.95,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "stop": ["end"],
        "seed": 3,
    }
    text, tokens = TALE[: TALE.index("end")], len(TALE.encode()) - 1
    assert found["continuations"] == [
        {"prompt": prompt, "text": text, "tokens": tokens, "finish": "stop"} for prompt in ("x", "")
    ]
    for flags, finish in ((["--max-tokens", 5], "length"), ([], "end")):
        found = json.loads(command(reciter, *flags, "--json", *GREEDY, capsys=capsys))
        assert [c["finish"] for c in found["continuations"]] == [finish]


def texts(run, *arguments, capsys):
    found = json.loads(command(run, *arguments, "--json", "--max-tokens", 40, capsys=capsys))
    return [c["text"] for c in found["continuations"]], found["settings"]["seed"]


def test_a_seed_repeats_and_the_seed_that_was_drawn_is_told(run, capsys):
    prompts = ["--prompt", "Once", "--prompt", "The"]
    first, seed = texts(run, *prompts, capsys=capsys)
    assert texts(run, *prompts, "--seed", seed, capsys=capsys) == (first, seed)
    assert texts(run, *prompts, "--seed", seed + 1, capsys=capsys)[0] != first
    assert texts(run, *prompts, capsys=capsys)[0] != first
    alone, _ = texts(run, "--prompt", "The", "--seed", seed, capsys=capsys)
    assert alone == first[1:]


def test_text_that_streams_is_the_text_that_comes_at_once(run, model, capsys):
    settings = {"max_tokens": 60, "seed": 5}
    pieces = list(model.stream("Once", **settings))
    assert len(pieces) > 5 and all(pieces)
    assert "".join(pieces) == model.generate("Once", **settings)
    assert model.generate(["Once", "x"], **settings)[0] == "".join(pieces)
    assert xunlian.generate(run, "Once", precision="fp32", **settings) == "".join(pieces)
    flags = ["--max-tokens", 60, "--seed", 5, "--prompt", "Once"]
    assert command(run, *flags, capsys=capsys) == f"Once{''.join(pieces)}\n"


def test_settings_left_out_are_those_of_the_recipe(run, tmp_path, capsys):
    other = shutil.copytree(run, tmp_path / "other")
    recipe = (other / "recipe.toml").read_text()
    for line in ("temperature = 0.8", "max_tokens = 200"):
        assert line in recipe
    recipe = recipe.replace("temperature = 0.8", "temperature = 0.0").replace("= 200", "= 7")
    (other / "recipe.toml").write_text(recipe)
    found = json.loads(command(other, "--json", "--top-k", 3, capsys=capsys))
    settings = found["settings"]
    assert (settings["temperature"], settings["max_tokens"], settings["top_k"]) == (0.0, 7, 3)
    assert found["continuations"][0]["tokens"] <= 7


def test_the_models_own_transformers_continuation_is_ours(run, capsys):
    transformers = pytest.importorskip("transformers")
    import torch

    theirs = transformers.AutoModelForCausalLM.from_pretrained(run / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(run / "model")
    capsys.readouterr()
    prompt = tokenizer("The quick", return_tensors="pt")
    with torch.no_grad():
        out = theirs.generate(**prompt, max_new_tokens=16, do_sample=False)
    expected = tokenizer.decode(out[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    flags = ["--prompt", "The quick", "--max-tokens", 16, *GREEDY]
    assert command(run / "model", *flags, capsys=capsys).rstrip("\n\ufffd") == (
        "The quick" + expected
    ).rstrip("\n\ufffd")


def test_a_long_prompt_is_continued_with_a_warning_on_standard_error(run, capsys):
    prompt = "The quick brown fox jumps over the lazy dog."
    flags = ["generate", run, "--prompt", prompt, "--max-tokens", 9, "--seed", 1, *FP32]
    assert cli.main([*map(str, flags)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(prompt)
    assert err == (
        "warning: The prompt has 44 tokens but the model sees 32 at once: the first 12 were left "
        "out.\n"
    )


@pytest.mark.parametrize("precision", ["auto", "bf16"])
def test_other_precisions_write_too(precision, reciter, capsys):
    flags = ["--prompt", "x", *GREEDY, "--json", "--precision", precision]
    assert cli.main(["generate", str(reciter), *flags]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["precision"] == precision or precision == "auto"
    assert found["continuations"][0]["text"] == TALE


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--temperature", "-1"], "decoding.temperature = -1"),
        (["--temperature", "nan"], "decoding.temperature = nan"),
        (["--temperature", "warm"], "argument --temperature"),
        (["--top-p", "2"], "decoding.top_p = 2"),
        (["--top-p", "0"], "decoding.top_p = 0"),
        (["--top-k", "-3"], "decoding.top_k = -3"),
        (["--top-k", "1.5"], "argument --top-k"),
        (["--min-p", "1.1"], "decoding.min_p = 1.1"),
        (["--repetition-penalty", "0"], "decoding.repetition_penalty = 0"),
        (["--max-tokens", "0"], "decoding.max_tokens = 0"),
        (["--seed", "-1"], "decoding.seed = -1"),
        (["--seed", "9" * 25], "decoding.seed = 999"),
        (["--precision", "fp8"], "argument --precision"),
        (["--prompt", "\udcff"], "not UTF-8"),
        (["--stop", "a\udcff"], "not UTF-8"),
    ],
    ids=str,
)
def test_a_bad_value_is_told_in_one_line(flags, said, run, capsys):
    assert said in failing(run, *flags, capsys=capsys)


def test_a_prompts_file_that_cannot_be_used_is_told(run, tmp_path, capsys):
    for name, content in (("empty", b""), ("blank", b"\n \n"), ("latin", "café".encode("latin1"))):
        (tmp_path / name).write_bytes(content)
        assert name in failing(run, "--prompts-file", tmp_path / name, capsys=capsys)
    assert "no prompts file" in failing(run, "--prompts-file", tmp_path / "none", capsys=capsys)
    assert "in the way" in failing(run, "--prompts-file", tmp_path, capsys=capsys)


def test_a_folder_that_is_no_run_is_told(run, tmp_path, capsys):
    assert "Did you mean" in failing(run.parent / "tales-2", capsys=capsys)
    assert "is a corpus" in failing(run.parent / "tales", capsys=capsys)
    assert "neither a run" in failing(tmp_path, capsys=capsys)
    other = shutil.copytree(run, tmp_path / "other")
    weights = other / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    assert "model.safetensors' is damaged" in failing(other, capsys=capsys)
    weights.unlink()
    assert "no model yet" in failing(other, capsys=capsys)
    (other / "recipe.toml").write_text("[decoding]\ntemperature = -1")
    assert "no model yet" in failing(other, capsys=capsys)
    shutil.copy(run / "model" / "model.safetensors", weights)
    assert "decoding.temperature = -1" in failing(other, capsys=capsys)


def test_python_is_told_the_same(run, model):
    with pytest.raises(InputError, match="temperature"):
        model.generate("x", temperature=-1)
    with pytest.raises(InputError, match="top_p"):
        model.stream("x", top_p=2)  # at once, not at the first piece
    with pytest.raises(InputError, match="fp8"):
        xunlian.load(run, precision="fp8")
    assert model.generate([]) == []


def test_generating_leaves_no_file_behind(run, capsys):
    before = tree(run.parent)
    command(run, "--prompt", "x", "--max-tokens", 3, capsys=capsys)
    assert tree(run.parent) == before
