"""What a finished training shows: its scores, samples and report."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from xunlian.console import console, say, warn
from xunlian.decoding.chat import fit_prompt, reply
from xunlian.decoding.generate import generate_texts
from xunlian.decoding.model import LoadedModel, make_engine
from xunlian.decoding.translator import prepare_translator
from xunlian.errors import InputError
from xunlian.evaluation.preferences import ALSO, needs_reference
from xunlian.files import write_text
from xunlian.recipe.settings import CHAT_TASKS, PAIR_TASKS
from xunlian.report.page import ReportData, format_bytes, render_report
from xunlian.runs.folder import Run
from xunlian.runs.load import Loaded, load_run, require_decoder
from xunlian.shards.corpus import Corpus
from xunlian.shards.stream import TokenStream
from xunlian.tokenizer.chat import require_chat
from xunlian.training.advice import next_commands, too_long
from xunlian.training.display import duration

SAMPLE_TOKENS = 160
SAMPLE_PAIRS = 5
SAMPLE_CHARACTERS = 600


def summarize(run: Run, corpus: Corpus) -> None:
    """Print the outcome of a finished run and write its report."""
    facts = run.facts()
    scores = val_scores(facts.get("best_val_loss"), corpus, run.metrics())
    samples = write_samples(run)
    translations = translate_samples(run, corpus)
    report = _report(run, corpus, facts, scores, samples, translations)
    write_text(run.report_file, render_report(report))
    _print(run, facts, scores, samples, translations)


def val_scores(
    val_loss: float | None, corpus: Corpus, metrics: Sequence[Mapping[str, Any]] = ()
) -> dict[str, float]:
    """Perplexity and bits per byte of the validation text from its mean loss in nats; of
    preferences, what else the line of `metrics` with this loss says."""
    if val_loss is None:
        return {}
    if corpus.task == "preference":
        # The mean of checkpoints has no line.
        line = next((row for row in metrics if row.get("val_loss") == val_loss), {})
        also = {name: line[f"val_{name}"] for name in ALSO if line}
        return {"loss": val_loss, **also}
    card = corpus.split_card("val")
    nats = val_loss * (card["tokens"] - 1)
    scores = {"loss": val_loss, "perplexity": math.exp(min(val_loss, 700))}
    if card["bytes"] and corpus.task == "language-model":
        scores["bits_per_byte"] = nats / card["bytes"] / math.log(2)
    return scores


def write_samples(run: Run) -> list[tuple[str, str]]:
    """(prompt, continuation) for each prompt of the recipe, or one from nothing; of what chats, the
    prompts that there are, with their answers."""
    if run.recipe.task in PAIR_TASKS:
        return []
    loaded = load_run(run.path)
    prompts = list(run.recipe.prompts) or [""]
    if run.recipe.task in CHAT_TASKS:
        return [(f"{prompt}\n", _answer(run, loaded, prompt)) for prompt in run.recipe.prompts]
    tokens = [loaded.tokenizer.encode_prompt(prompt) for prompt in prompts]
    settings = run.recipe.decoding.model_copy(
        update={"max_tokens": SAMPLE_TOKENS, "seed": run.recipe.training.seed}
    )
    texts = [""] * len(prompts)
    # The same precision on every machine, so that the same run shows the same samples.
    for number, piece, _ in generate_texts(
        make_engine(require_decoder(loaded), "fp32"),
        loaded.tokenizer,
        tokens,
        settings,
        loaded.end_ids,
    ):
        texts[number] += piece
    return list(zip(prompts, texts, strict=True))


def _answer(run: Run, loaded: Loaded, prompt: str) -> str:
    model = LoadedModel(loaded, make_engine(require_decoder(loaded), "fp32"))
    chat = require_chat(run.model_folder)
    settings = run.recipe.decoding.model_copy(
        update={"max_tokens": SAMPLE_TOKENS, "seed": run.recipe.training.seed}
    )
    said = [{"role": "user", "content": prompt}]
    try:
        tokens, _ = fit_prompt(chat, said, model.engine.context, SAMPLE_TOKENS)
    except InputError as error:  # longer than the context
        return str(error)
    return "".join(reply(model, chat, tokens, settings))


def translate_samples(run: Run, corpus: Corpus) -> list[tuple[str, str, str]]:
    """(source, reference, translation) of a few validation pairs, spread over all of them.

    A side longer than SAMPLE_CHARACTERS is shown cut.
    """
    if run.recipe.task not in PAIR_TASKS:
        return []
    loaded = load_run(run.path)
    sources, references = (
        [
            loaded.tokenizers.of(column).decode(stream.read(*bounds))
            for bounds in _some_bounds(stream, SAMPLE_PAIRS)
        ]
        for column in ("source", "target")
        for stream in [corpus.stream("val", column)]
    )
    if not sources:
        return []
    translator = prepare_translator(loaded, "fp32")
    give = translator.translate if run.recipe.task == "translation" else translator.summarize
    found = give(sources)
    return [
        (_shown(source), _shown(reference), _shown(str(text)))
        for source, reference, text in zip(sources, references, found, strict=True)
    ]


def _some_bounds(stream: TokenStream, most: int) -> list[tuple[int, int]]:
    """(start, stop) of at most so many documents, evenly spread."""
    count = stream.document_count
    chosen = [count * i // min(most, count) for i in range(min(most, count))]
    return [tuple(stream.bounds(i, i + 1)) for i in chosen]


def _shown(text: str) -> str:
    return text if len(text) <= SAMPLE_CHARACTERS else text[:SAMPLE_CHARACTERS] + " ..."


def _print(
    run: Run,
    facts: dict[str, Any],
    scores: dict[str, float],
    samples: list[tuple[str, str]],
    translations: list[tuple[str, str, str]],
) -> None:
    from rich.text import Text

    say(
        f"\nTrained {facts['parameters']:,} parameters on {facts['tokens']:,} tokens in "
        f"{duration(facts['seconds'])} ({facts['step']} steps)."
    )
    if "reward_accuracy" in scores:
        say(
            f"Validation: loss {scores['loss']:.4f}; the chosen answer has the higher reward in "
            f"{scores['reward_accuracy']:.1%} of the preferences, by "
            f"{scores['reward_margin']:.3f} on average."
        )
    elif "perplexity" in scores:
        bits = f", bits per byte {scores['bits_per_byte']:.3f}" if "bits_per_byte" in scores else ""
        say(f"Validation: loss {scores['loss']:.4f}, perplexity {scores['perplexity']:.2f}{bits}.")
    if advice := too_long(facts):
        warn(advice)
    for prompt, text in samples:
        console().print(Text("\n" + prompt, style="bold") + Text(text, style="not bold"))
    for source, reference, text in translations:
        console().print(Text(f"\nsource     {source}\nreference  {reference}"))
        console().print(Text(f"the model  {text}", style="bold"))
    say(f"\nReport: {run.report_file}\nNext:")
    for command, about in next_commands(run):
        say(f"  {command}    # {about}")


def _report(
    run: Run,
    corpus: Corpus,
    facts: dict[str, Any],
    scores: dict[str, float],
    samples: list[tuple[str, str]],
    translations: list[tuple[str, str, str]],
) -> ReportData:
    import xunlian

    metrics = run.metrics()
    speeds = [row for row in metrics if row.get("tokens_per_second")]
    last = speeds[-1] if speeds else {}
    headline = {
        "parameters": f"{facts['parameters'] / 1e6:.1f} M",
        "tokens seen": f"{facts['tokens'] / 1e6:.2f} M",
        "time": duration(facts["seconds"]),
    }
    shown_scores = {
        "loss": ("validation loss", ".4f"),
        "perplexity": ("perplexity", ".2f"),
        "bits_per_byte": ("bits per byte", ".3f"),
        "reward_accuracy": ("reward accuracy", ".1%"),
        "reward_margin": ("reward margin", ".3f"),
    }
    for name, value in scores.items():
        label, form = shown_scores[name]
        headline[label] = format(value, form)
    training, rates = run.recipe.training, facts["rates"]
    shown = {
        "steps": f"{facts['step']:,}",
        "tokens a second": f"{last.get('tokens_per_second', 0):,.0f}",
        "share of the measured matrix rate (MFU)": f"{last.get('mfu', 0):.0%}",
        "measured matrix rate": f"fp32 {rates['fp32'] / 1e9:,.0f}, "
        f"bf16 {rates['bf16'] / 1e9:,.0f} GFLOP/s",
        "precision": training.precision,
        "torch.compile": f"{training.compile} ({facts['compile_seconds']:.0f} s)"
        if training.compile == "on"
        else training.compile,
        "attention": training.attention,
        "processes": str(facts["processes"]),
        "machine": f"{facts['machine']['processor']}, {facts['machine']['cores']} cores, "
        f"{facts['machine']['device']}",
    }
    notes = list(facts["notes"])
    if run.recipe.task != "preference":
        notes.append(
            f"A model that knows nothing has a loss of ln {facts['vocab_size']} = "
            f"{math.log(facts['vocab_size']):.2f}."
        )
    elif needs_reference(run.recipe):
        notes.append(
            f"Where a model differs from the one it started from in nothing, the loss is ln 2 = "
            f"{math.log(2):.2f} and the reward margin 0."
        )
    if facts.get("skipped"):
        notes.append(f"{facts['skipped']} steps were left out: their gradient was not finite.")
    if advice := too_long(facts):
        notes.append(advice)
    elif facts.get("best_step") and facts["best_step"] < facts["step"]:
        notes.append(
            f"model/ holds the weights of step {facts['best_step']}, whose validation "
            "loss was the best."
        )
    train, val = corpus.split_card("train"), corpus.split_card("val")
    return ReportData(
        title=run.path.name,
        subtitle=run.recipe.about,
        headline=headline,
        facts=shown,
        metrics=metrics,
        samples=samples,
        translations=translations,
        corpus={
            "folder": str(corpus.path),
            "vocabulary": f"{corpus.vocab_size:,} tokens",
            "training text": f"{train['tokens']:,} tokens, {train['documents']:,} documents, "
            f"{format_bytes(train['bytes'])}",
            "validation text": f"{val['tokens']:,} tokens, {val['documents']:,} documents, "
            f"{format_bytes(val['bytes'])}",
        },
        notes=notes,
        memory=list(facts["memory_predicted"].items()),
        memory_measured=facts.get("memory_measured"),
        recipe=(run.path / "recipe.toml").read_text("utf-8"),
        next_commands=next_commands(run),
        made_with=f"Xunlian 迅练 {xunlian.__version__}",
    )
