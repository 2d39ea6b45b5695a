"""Beam search beside `transformers.generate` and CTranslate2: same weights, same sentences, CPU.

    python benchmarks/translation_decoding.py --run RUN --source FILE [--reference FILE]

Theirs runs (a) as users call it: fp32, batches of 32 in the order of the file, and (b) at its best:
sorted by length, in its faster precision. Ours is `load(run).translate`: sorting, tokenizing and
decoding all count, as they do for theirs. The rounds take turns; medians are compared. With
--reference, BLEU of each. A line is appended to results/translation_decoding.jsonl.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from records import record

import xunlian
from xunlian.decoding.translator import Translator
from xunlian.runs.load import load_folder

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--reference")
    parser.add_argument("--lines", type=int, help="only so many, from the start")
    parser.add_argument("--language", default="en", help="of the reference, for BLEU")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-save", action="store_true", help="do not append to the results")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    sources = read(arguments.source)[: arguments.lines]
    references = read(arguments.reference)[: arguments.lines] if arguments.reference else None
    contenders = {
        **ours(arguments.run, arguments.beam),
        **theirs(load_folder(arguments.run), arguments.beam),
        **ctranslate2s(load_folder(arguments.run), arguments.beam, arguments.threads),
    }
    rates, outputs = measure(contenders, sources, arguments.rounds)
    best = max(rates[name] for name in rates if name.startswith("transformers sorted"))
    fastest = max(rates[name] for name in rates if name.startswith("ours"))
    same = sum(map(str.__eq__, outputs["ours fp32"], outputs["transformers as called"]))
    result = {
        "sentences": len(sources),
        "beam": arguments.beam,
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "sentences_per_second": rates,
        "ratio_as_called": fastest / rates["transformers as called"],
        "ratio_best": fastest / best,
        "same_in_fp32": same / len(sources),
    }
    if references:
        scores = {
            name: xunlian.score(texts, references, metrics=["bleu"], language=arguments.language)
            for name, texts in outputs.items()
        }
        result["bleu"] = {name: score["bleu"] for name, score in scores.items()}
        result["signature"] = scores["ours fp32"]["signatures"]
    for name, rate in rates.items():
        bleu = f", BLEU {result['bleu'][name]:.2f}" if references else ""
        print(f"{name:<26}{rate:8.1f} sentences/s{bleu}")
    print(
        f"{result['ratio_as_called']:.2f}x as called, {result['ratio_best']:.2f}x its best; "
        f"{same} of {len(sources)} the same in fp32"
    )
    if not arguments.no_save:
        record("translation_decoding", {"run": arguments.run, **result})


def read(name: str) -> list[str]:
    return Path(name).read_text("utf-8").splitlines()


Contender = Callable[[list[str]], list[str]]


def ours(run: str, beam: int) -> dict[str, Contender]:
    found = {}
    for precision in ("bf16", "fp32"):
        model = xunlian.load(run, precision=precision)
        assert isinstance(model, Translator)
        found[f"ours {precision}"] = partial(model.translate, beam=beam)
    return found


def theirs(folder: Path, beam: int) -> dict[str, Contender]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def translate(model: Any, in_order: bool, sources: list[str]) -> list[str]:
        order = list(range(len(sources)))
        if not in_order:
            lengths = [len(ids) for ids in tokenizer(sources)["input_ids"]]
            order.sort(key=lambda number: -lengths[number])
        found = [""] * len(sources)
        for start in range(0, len(order), BATCH):
            part = order[start : start + BATCH]
            batch = tokenizer(
                [sources[number] for number in part],
                padding=True,
                return_tensors="pt",
                return_token_type_ids=False,
            )
            with torch.inference_mode():
                out = model.generate(**batch, num_beams=beam, do_sample=False)
            for number, text in zip(
                part, tokenizer.batch_decode(out, skip_special_tokens=True), strict=True
            ):
                found[number] = text.strip()
        return found

    models = {
        name: transformers.AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=dtype).eval()
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
    }
    return {
        "transformers as called": partial(translate, models["fp32"], True),
        "transformers sorted fp32": partial(translate, models["fp32"], False),
        "transformers sorted bf16": partial(translate, models["bf16"], False),
    }


def ctranslate2s(folder: Path, beam: int, threads: int) -> dict[str, Contender]:
    try:
        import ctranslate2
    except ImportError:
        print("CTranslate2 is not installed, so it is left out")
        return {}
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    context = transformers.AutoConfig.from_pretrained(folder).max_position_embeddings

    def translate(model: Any, sources: list[str]) -> list[str]:
        tokens = [tokenizer.convert_ids_to_tokens(ids) for ids in tokenizer(sources)["input_ids"]]
        results = model.translate_batch(
            tokens, beam_size=beam, max_batch_size=BATCH, max_decoding_length=context - 1
        )
        ids = [tokenizer.convert_tokens_to_ids(result.hypotheses[0]) for result in results]
        texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [text.strip() for text in texts]

    with tempfile.TemporaryDirectory() as temporary:
        out = str(Path(temporary) / "converted")
        ctranslate2.converters.TransformersConverter(str(folder)).convert(out)
        return {
            f"ctranslate2 {name}": partial(
                translate,
                ctranslate2.Translator(
                    out, device="cpu", compute_type=kind, inter_threads=1, intra_threads=threads
                ),
            )
            for name, kind in (("fp32", "float32"), ("int8", "int8"))
        }


def measure(
    contenders: dict[str, Contender], sources: list[str], rounds: int
) -> tuple[dict[str, float], dict[str, list[str]]]:
    """Sentences a second, the median of `rounds` in which all take their turn; the outputs."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    outputs: dict[str, list[str]] = {}
    for work in contenders.values():
        work(sources[: 2 * BATCH])
    for _ in range(rounds):
        for name, work in contenders.items():
            start = time.perf_counter()
            outputs[name] = work(sources)
            times[name].append(time.perf_counter() - start)
    rates = {name: len(sources) / statistics.median(seconds) for name, seconds in times.items()}
    return rates, outputs


if __name__ == "__main__":
    main()
