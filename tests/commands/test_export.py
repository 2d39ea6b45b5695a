"""export as a user runs it: what is written, what is printed, and what is refused."""

import io
import json
import re
import stat
from contextlib import redirect_stdout
from dataclasses import replace

import made_decoder
import made_recurrent
import pytest
import torch
from made_adapted import make_adapted
from made_folder import TEMPLATE, save_folder, save_pair_folder
from made_languages import save_language_folder
from made_run import byte_tokenizer, make_model, make_translator, tree

import xunlian
from xunlian import cli
from xunlian.commands.export import TYPES
from xunlian.errors import InputError
from xunlian.evaluation import exported
from xunlian.interop.huggingface import write_config, write_weights
from xunlian.runs.load import load_run

TEXT = "The cat sat on the mat. the dog ran! 人有猫。猫有人。 a dog sat on a cat."
LIBRARIES = {"gguf": ["gguf"], "ctranslate2": ["ctranslate2"], "onnx": ["onnx", "onnxruntime"]}


def need(to):
    for library in LIBRARIES[to]:
        pytest.importorskip(library, reason=f'needs pip install "xunlian[{to}]"')


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    folder = make_model(tmp_path_factory.mktemp("decoder") / "tales")
    write_config(folder, load_run(folder).model.config, byte_tokenizer().end_id)
    return folder


@pytest.fixture(scope="module")
def translator(tmp_path_factory):
    return make_translator(tmp_path_factory.mktemp("pegasus"), TEXT)


def refusal(capsys, *arguments):
    """The one line that a wrong call gets."""
    assert cli.main(["export", *map(str, arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("to, type_", [(to, type_) for to in TYPES for type_ in TYPES[to]])
def test_every_type_of_a_language_model_passes_its_check(tmp_path, capsys, decoder, to, type_):
    need(to)
    out = tmp_path / "new" / "out"
    assert cli.main(["export", str(decoder), "--to", to, "--out", str(out), "--type", type_]) == 0
    written, checked = capsys.readouterr().out.splitlines()
    assert written.startswith(f"written  {out}: {to}, {type_}, ")
    assert re.fullmatch(
        r"checked  5 texts, \d+ tokens: greatest difference \S+, mean \S+ nats a token", checked
    )
    for path in (out, *out.rglob("*")):
        assert path.is_dir() or stat.S_IMODE(path.stat().st_mode) & 0o044, path
    assert [p.name for p in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("to", TYPES)
@pytest.mark.parametrize("kind", ["llama", "qwen2", "mistral"])
def test_open_models_are_exported_with_their_chat_template(tmp_path, kind, to):
    need(to)
    save_folder(tmp_path / kind, kind, start=True)
    out = tmp_path / "out"
    found = xunlian.export(tmp_path / kind, to, out, type="f32" if to == "gguf" else "float32")
    assert found["check"]["greatest_difference"] < 1e-4
    if to == "gguf":
        from gguf import GGUFReader

        fields = {name: field.contents() for name, field in GGUFReader(out).fields.items()}
        assert fields["tokenizer.chat_template"] == TEMPLATE
        assert fields["tokenizer.ggml.add_bos_token"]
    else:
        assert (out / "chat_template.jinja").read_text() == TEMPLATE


@pytest.mark.parametrize("to", ["onnx", "ctranslate2"])
def test_the_program_beside_an_open_model_starts_with_its_start_token(tmp_path, monkeypatch, to):
    need(to)
    save_folder(tmp_path / "llama", "llama", start=True, initializer_range=0.3)
    xunlian.export(tmp_path / "llama", to, tmp_path / "out", type="float32")
    # 64 tokens with the prompt and what stands before it; we do not write half a character.
    prompt = len(load_run(tmp_path / "llama").tokenizer.encode_prompt("The"))
    written = xunlian.generate(
        tmp_path / "llama", "The", temperature=0, max_tokens=64 - prompt, precision="fp32"
    )
    said = run_note(tmp_path / "out", monkeypatch).rstrip("\ufffd")
    assert said == ("The" + written).rstrip("\ufffd") and len(said) > 20


@pytest.mark.parametrize("to", ["onnx", "ctranslate2"])
@pytest.mark.parametrize(
    "kind, fields, bias",
    [
        ("marian", {"activation_function": "swish", "scale_embedding": False}, True),
        ("marian", {"activation_function": "swish"}, False),
        ("pegasus", {"activation_function": "gelu"}, False),
        ("m2m_100", {}, False),
        ("bart", {"activation_function": "gelu", "scale_embedding": False}, True),
        ("mbart", {}, False),
    ],
)
def test_published_encoder_decoders_are_exported(tmp_path, to, kind, fields, bias):
    need(to)
    save_pair_folder(tmp_path / kind, kind, bias=bias, **fields)
    check = xunlian.export(tmp_path / kind, to, tmp_path / "out", type="float32")["check"]
    assert check["greatest_difference"] < 1e-4 and check.get("chrf", 100) == 100


def test_an_adapter_is_exported_with_its_base_as_one_model(tmp_path):
    need("onnx")
    from xunlian.evaluation.onnx_sessions import decoder_logits

    run, model = make_adapted(tmp_path)
    xunlian.export(run.path, "onnx", tmp_path / "out")
    tokens = torch.arange(4, 24)
    with torch.no_grad():
        ours = model.logits(tokens[None])[0]
    theirs = torch.from_numpy(decoder_logits(tmp_path / "out")(tokens.tolist()))
    torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=0)


@pytest.mark.parametrize("to, type_", [("ctranslate2", "float32"), ("onnx", None)])
def test_a_translator_is_exported_and_what_was_measured_is_given_back(
    tmp_path, translator, to, type_
):
    need(to)
    found = xunlian.export(translator, to, tmp_path / "out", type=type_)
    check = found["check"]
    assert check["texts"] == 5 and check["greatest_difference"] < 1e-4
    assert found["bytes"] == sum(p.stat().st_size for p in (tmp_path / "out").rglob("*"))
    if to == "ctranslate2":
        assert check["same_texts"] == 5 and check["chrf"] == 100
    sheet = json.loads((tmp_path / "out" / "export.json").read_text())
    assert sheet == {"to": to, "type": "float32", "check": check}


def test_json_is_one_object(tmp_path, capsys, decoder):
    need("gguf")
    out = tmp_path / "tales.gguf"
    assert cli.main(["export", str(decoder), "--to=gguf", f"--out={out}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["path"], found["to"], found["type"]) == (str(out), "gguf", "f16")
    assert found["bytes"] == out.stat().st_size
    assert 0 < found["check"]["mean_difference"] < 1e-3


def run_note(folder, monkeypatch):
    """What the program in the README of an exported folder prints."""
    (program,) = re.findall(
        r"```python\n(.*?)```", (folder / "README.md").read_text("utf-8"), re.DOTALL
    )
    monkeypatch.chdir(folder)
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(program, "README.md", "exec"), {})
    return printed.getvalue().removesuffix("\n")


@pytest.mark.parametrize("to", ["onnx", "ctranslate2"])
def test_the_program_beside_a_language_model_writes_what_we_write(
    tmp_path, monkeypatch, decoder, to
):
    need(to)
    xunlian.export(decoder, to, tmp_path / "out", type="float32")
    written = xunlian.generate(decoder, "The", temperature=0, max_tokens=29, precision="fp32")
    assert run_note(tmp_path / "out", monkeypatch) == "The" + written


@pytest.mark.parametrize("to, beam", [("onnx", 1), ("ctranslate2", 4)])
def test_the_program_beside_a_translator_translates_as_we_do(
    tmp_path, monkeypatch, translator, to, beam
):
    need(to)
    xunlian.export(translator, to, tmp_path / "out", type="float32")
    ours = xunlian.translate(translator, "The", beam=beam, max_tokens=31, precision="fp32")
    assert run_note(tmp_path / "out", monkeypatch) == ours


@pytest.mark.parametrize("to, beam", [("onnx", 1), ("ctranslate2", 4)])
def test_the_program_beside_a_translator_of_many_languages_writes_the_one_that_was_named(
    tmp_path, monkeypatch, to, beam
):
    need(to)
    save_language_folder(tmp_path / "nllb", "nllb")
    languages = {"source_language": "eng_Latn", "target_language": "deu_Latn"}
    with pytest.raises(InputError, match="Say them with --source-language"):
        xunlian.export(tmp_path / "nllb", to, tmp_path / "out", type="float32")
    xunlian.export(tmp_path / "nllb", to, tmp_path / "out", type="float32", **languages)
    ours = xunlian.translate(tmp_path / "nllb", "The", beam=beam, precision="fp32", **languages)
    # Where the model does not end, we stop it at a length that depends on the source.
    assert len(ours) >= 5 and run_note(tmp_path / "out", monkeypatch).startswith(ours)


def test_a_failed_check_leaves_nothing_behind(tmp_path, capsys, monkeypatch, decoder):
    need("gguf")
    monkeypatch.setattr(exported, "_compare", lambda _: exported.Agreement(5, 90, 3.5, 0.9))
    out = tmp_path / "new" / "m.gguf"
    assert cli.main(["export", str(decoder), "--to", "gguf", "--out", str(out)]) == 1
    assert "does not compute what the run computes" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_replaced_with_force_only(tmp_path, capsys, decoder):
    need("gguf")
    out = tmp_path / "m.gguf"
    out.write_text("mine")
    line = refusal(capsys, decoder, "--to", "gguf", "--out", out)
    assert f"'{out}' exists already" in line and "--force" in line
    assert out.read_text() == "mine"
    xunlian.export(decoder, "gguf", out, force=True)
    assert out.read_bytes()[:4] == b"GGUF"


def test_force_replaces_an_exported_folder_and_no_other(tmp_path, capsys, decoder):
    need("onnx")
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    line = refusal(capsys, decoder, "--to", "onnx", "--out", out, "--force")
    assert f"'{out}' was not exported by Xunlian" in line
    line = refusal(capsys, decoder, "--to", "gguf", "--out", out, "--force")
    assert f"'{out}' is a folder" in line
    assert tree(out).keys() == {"thesis.txt"}
    out = tmp_path / "out"
    xunlian.export(decoder, "onnx", out)
    before = tree(out)
    xunlian.export(decoder, "onnx", out, force=True)
    assert tree(out) == before


@pytest.mark.parametrize("to", TYPES)
def test_a_missing_library_is_named_with_the_extra_that_brings_it(
    tmp_path, capsys, monkeypatch, decoder, to
):
    for library in LIBRARIES[to]:
        monkeypatch.setitem(__import__("sys").modules, library, None)
    line = refusal(capsys, decoder, "--to", to, "--out", tmp_path / "new" / "out")
    assert f'pip install "xunlian[{to}]"' in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--to", "ggfu"], "no format 'ggfu'. Did you mean 'gguf'? Export to gguf, ctranslate2,"),
        (["--to", "gguf", "--type", "q8"], "no type 'q8' here. Did you mean 'q8_0'?"),
        (["--to", "onnx", "--type", "int8"], "Choose --type float32."),
    ],
)
def test_misspelt_formats_and_types_are_named(tmp_path, capsys, decoder, arguments, said):
    assert said in refusal(capsys, decoder, *arguments, "--out", tmp_path / "out")


def own_kinds(folder):
    """A folder of a recurrent network, and one of a speedrun."""
    tokenizer = byte_tokenizer()
    for name in ("lstm", "speedrun"):
        path = folder / name
        path.mkdir()
        if name == "lstm":
            model = made_recurrent.randomized("lstm")
        else:
            model = made_decoder.randomized(made_decoder.CONFIGS["speedrun"])
        rows = tokenizer.vocab_size
        config = replace(model.config, vocab_size=rows)
        model = type(model)(config)
        write_config(path, config, tokenizer.end_id)
        write_weights(path / "model.safetensors", model)
        tokenizer.save(path)
        yield name, path


def test_networks_of_our_own_are_refused_and_what_can_go_is_named(tmp_path, capsys):
    for name, path in own_kinds(tmp_path):
        line = refusal(capsys, path, "--to", "onnx", "--out", tmp_path / "out")
        assert f"of the kind {name}, which no other engine has" in line
        assert "gguf takes qwen3, qwen2, llama, mistral, gpt2; ctranslate2 takes " in line


def test_a_translator_has_no_gguf(tmp_path, capsys, translator):
    line = refusal(capsys, translator, "--to", "gguf", "--out", tmp_path / "m.gguf")
    assert "kind pegasus, which cannot go to gguf. Export it to ctranslate2 or onnx." in line


def test_a_chat_template_goes_along(tmp_path, decoder):
    need("onnx")
    loaded = load_run(decoder)
    copy = tmp_path / "chat"
    copy.mkdir()
    for file in decoder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "chat_template.jinja").write_text("{{ messages }}")
    xunlian.export(copy, "onnx", tmp_path / "out")
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == "{{ messages }}"
    assert torch.equal(load_run(copy).model.head_weight, loaded.model.head_weight)
