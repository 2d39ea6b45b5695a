"""`xunlian export`: a model in the format of another engine, checked before it is called done."""

import argparse
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xunlian.commands.common import add_json, print_json
from xunlian.commands.translate import add_languages

if TYPE_CHECKING:
    from xunlian.evaluation.exported import Agreement
    from xunlian.runs.load import Loaded

# What each format stores its numbers in; the first is the default.
TYPES = {
    "gguf": ("f16", "q8_0", "f32"),
    "ctranslate2": ("int8", "int8_float32", "float16", "float32"),
    "onnx": ("float32",),
}
# Which of our networks each can hold.
_DECODERS = ("qwen3", "qwen2", "llama", "mistral", "gpt2")
_PAIRS = ("pegasus", "marian", "m2m_100", "bart", "mbart")
KINDS = {
    "gguf": _DECODERS,
    "ctranslate2": (*_DECODERS, *_PAIRS),
    "onnx": (*_DECODERS, *_PAIRS),
}
SHEET = "export.json"
"""In an exported folder: what it is, and what the check found."""

_COPIED = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def export(
    run: str | Path,
    to: str,
    out: str | Path,
    *,
    type: str | None = None,
    force: bool = False,
    source_language: str | None = None,
    target_language: str | None = None,
) -> dict[str, Any]:
    """Write the model of `run` for another engine, and compare what it computes there.

    Args:
        run: a run or a Hugging Face model folder, with a Transformer in it.
        to: 'gguf' (llama.cpp; a file, of a decoder), 'ctranslate2' or 'onnx' (folders).
        out: the file or folder to write.
        type: what the numbers are stored in, one of TYPES[to].
        force: replace a file, or a folder that was exported before.
        source_language, target_language: as `translate` takes them: for the program in its README.

    Returns:
        `path`, `to`, `type`, `bytes`, and `check`: `texts` and `tokens` compared, the
        `greatest_difference` of a logit and the `mean_difference` in nats a token; for
        translations by CTranslate2 also `same_texts` and `chrf`.

    Raises:
        InputError: the engine has no such network or tokenizer, its library is missing, or `out`
            is in the way.
        XunlianError: the check failed; nothing was written.
    """
    from xunlian.evaluation.exported import sample_tokens
    from xunlian.files import atomic_folder, atomic_path, write_text
    from xunlian.runs.load import in_languages, load_run

    type = _checked_type(to, type)
    out = Path(out)
    _check_place(out, to == "gguf", force)
    loaded = load_run(run)
    _check_model(loaded, to)
    if loaded.start_id is not None:
        loaded = in_languages(loaded, source_language, target_language)
    texts = sample_tokens(run, loaded)
    name = Path(run).resolve().name
    if to == "gguf":
        with atomic_path(out) as file:
            check = _gguf(file, loaded, texts, name, type)
    else:
        with atomic_folder(out, replace=force) as folder:
            check = _folder(folder, loaded, texts, to, type)
            write_text(folder / "README.md", _note(run, loaded, to))
    return {
        "path": str(out),
        "to": to,
        "type": type,
        "bytes": sum(p.stat().st_size for p in (out, *out.rglob("*")) if p.is_file()),
        "check": check.figures(),
    }


def _checked_type(to: str, type_: str | None) -> str:
    from xunlian.errors import InputError, did_you_mean

    if to not in TYPES:
        raise InputError(
            f"There is no format '{to}'.{did_you_mean(to, TYPES)} Export to {', '.join(TYPES)}."
        )
    if type_ is None:
        return TYPES[to][0]
    if type_ not in TYPES[to]:
        raise InputError(
            f"{to} has no type '{type_}' here.{did_you_mean(type_, TYPES[to])} "
            f"Choose --type {', '.join(TYPES[to])}."
        )
    return type_


def _check_place(out: Path, is_file: bool, force: bool) -> None:
    from xunlian.errors import InputError

    if not out.exists():
        return
    if not force:
        raise InputError(f"'{out}' exists already. Choose another --out, or add --force.")
    if is_file and not out.is_file():
        raise InputError(f"'{out}' is a folder; gguf is a file, such as --out {out / 'm.gguf'}.")
    if not is_file and not (out / SHEET).is_file():
        raise InputError(
            f"'{out}' was not exported by Xunlian (it has no {SHEET}), so --force does not replace "
            "it. Choose another --out."
        )


def _check_model(loaded: "Loaded", to: str) -> None:
    from xunlian.errors import InputError
    from xunlian.models.recurrent import RecurrentConfig

    config = loaded.model.config
    own = config.family if isinstance(config, RecurrentConfig) else config.architecture
    takers = [name for name, kinds in KINDS.items() if own in kinds]
    if to in takers:
        return
    kind = f"'{loaded.folder}' is of the kind {own}"
    if takers:
        raise InputError(f"{kind}, which cannot go to {to}. Export it to {' or '.join(takers)}.")
    taken = "; ".join(f"{name} takes {', '.join(kinds)}" for name, kinds in KINDS.items())
    raise InputError(f"{kind}, which no other engine has. Of ours, {taken}.")


def _gguf(
    file: Path, loaded: "Loaded", texts: list[list[int]], name: str, type_: Any
) -> "Agreement":
    from xunlian.evaluation.exported import compare_gguf
    from xunlian.interop.gguf_model import write_gguf
    from xunlian.models.decoder import Decoder

    assert isinstance(loaded.model, Decoder)
    write_gguf(file, loaded.model, loaded.tokenizer, loaded.folder, name, type_)
    check = compare_gguf(file, loaded.model, texts)
    check.require(type_)
    return check


def _folder(
    folder: Path, loaded: "Loaded", texts: list[list[int]], to: str, type_: Any
) -> "Agreement":
    from xunlian.corpus.extras import need
    from xunlian.evaluation.exported import compare_ctranslate2, compare_onnx
    from xunlian.files import write_json
    from xunlian.interop.ctranslate2_model import write_ctranslate2
    from xunlian.interop.onnx_decoder import FILE, write_decoder
    from xunlian.interop.onnx_pairs import write_pairs
    from xunlian.models.decoder import Decoder
    from xunlian.models.encoder_decoder import EncoderDecoder

    model = loaded.model
    assert isinstance(model, Decoder | EncoderDecoder)
    if to == "onnx":
        need("onnxruntime", "onnx")  # before the work of writing
        if isinstance(model, Decoder):
            write_decoder(folder / FILE, model)
        else:
            write_pairs(folder, model)
        check = compare_onnx(folder, loaded, texts)
    else:
        write_ctranslate2(folder, model, loaded.tokenizers, loaded.start_id, type_)
        check = compare_ctranslate2(folder, loaded, texts, type_)
    check.require(type_)
    _copy_files(folder, loaded, to)
    write_json(folder / SHEET, {"to": to, "type": type_, "check": check.figures()})
    return check


def _copy_files(folder: Path, loaded: "Loaded", to: str) -> None:
    """Tokenizers, and the configurations where the engine has none of that name itself."""
    from xunlian.tokenizer.fingerprint import TARGET

    configurations = ("config.json", "generation_config.json") if to == "onnx" else ()
    for source in (loaded.folder, loaded.folder / TARGET):
        place = folder / source.relative_to(loaded.folder)
        for name in (*_COPIED, *configurations):
            if (source / name).is_file():
                place.mkdir(exist_ok=True)
                shutil.copyfile(source / name, place / name)


def _note(run: str | Path, loaded: "Loaded", to: str) -> str:
    from xunlian.commands.export_notes import note
    from xunlian.runs.folder import open_run
    from xunlian.runs.load import is_run

    prompts = open_run(run).recipe.prompts if is_run(run) else ()
    names = loaded.tokenizer.tokens(loaded.model.config.vocab_size)
    # The names of special tokens, written in a text, are read as these.
    starts = [] if loaded.frames else loaded.tokenizer.start_ids
    return note(
        to,
        frames=loaded.frames,
        names=names,
        prompt="".join(names[i] for i in starts) + (prompts[0] if prompts else "The"),
        length=min(64, loaded.model.config.context),
        ends=sorted(loaded.end_ids),
        separate=loaded.tokenizers.separate,
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run, or a Hugging Face model folder")
    parser.add_argument(
        "--to",
        required=True,
        metavar="FORMAT",
        help="gguf: a file for llama.cpp, of a language model. ctranslate2, onnx: a folder",
    )
    parser.add_argument("--out", required=True, metavar="PATH", help="the file or folder to write")
    parser.add_argument(
        "--type",
        metavar="TYPE",
        help="; ".join(f"{to}: {', '.join(types)}" for to, types in TYPES.items())
        + ". Default: the first",
    )
    parser.add_argument(
        "--force", action="store_true", help="replace what was exported to that place before"
    )
    add_languages(parser)
    add_json(parser)
    parser.epilog = (
        "What is written is read back and compared with the run on a few texts; the difference is "
        "printed. Needs xunlian[gguf], xunlian[ctranslate2] or xunlian[onnx]. RUN/model itself is "
        "a Hugging Face folder and needs no export."
    )


def run(arguments: argparse.Namespace) -> int:
    found = export(
        arguments.run,
        arguments.to,
        arguments.out,
        type=arguments.type,
        force=arguments.force,
        source_language=arguments.source_language,
        target_language=arguments.target_language,
    )
    if arguments.json:
        print_json(found)
        return 0
    check = found["check"]
    sys.stdout.write(
        f"written  {found['path']}: {found['to']}, {found['type']}, "
        f"{found['bytes'] / 1e6:,.1f} MB\n"
        f"checked  {check['texts']} texts, {check['tokens']:,} tokens: greatest difference "
        f"{check['greatest_difference']:.2g}, mean {check['mean_difference']:.2g} nats a token\n"
    )
    if "same_texts" in check:
        sys.stdout.write(
            f"         {check['same_texts']} of {check['texts']} lines are translated the same, "
            f"chrF {check['chrf']:.1f}\n"
        )
    return 0
