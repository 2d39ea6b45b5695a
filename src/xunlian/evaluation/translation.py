"""How good the targets of an encoder-decoder are: its own against the references, and how well it
predicts these.

- The hypotheses are those of `xunlian translate` (or `summarize`) with the settings of the run.
- What costs nothing stands beside them: copying the source where both sides are Chinese (so much
  of classical Chinese stays as it is), the first sentences where the task is to summarize.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

import xunlian
from xunlian.corpus.reading.languages import primary
from xunlian.data.pairs import PairRows
from xunlian.data.sorted_pairs import SortedPairs
from xunlian.decoding.sentences import sentences
from xunlian.decoding.translate import Notes, Search
from xunlian.decoding.translator import Translator
from xunlian.evaluation.pair_texts import PairTexts
from xunlian.evaluation.pairs import BATCH_TOKENS, PairValidation
from xunlian.evaluation.scores import CHINESE, JAPANESE, METRICS, check_bootstrap, score
from xunlian.models.encoder_decoder import EncoderDecoder
from xunlian.models.recurrent_pairs import RecurrentPairModel
from xunlian.runs.load import require_encoder_decoder

PERPLEXITY = "perplexity"
PAIR_METRICS = (*METRICS, PERPLEXITY)
DEFAULTS = {
    "translation": ("bleu", "chrf", PERPLEXITY),
    "summarization": ("rouge", PERPLEXITY),
}
"""Task -> the metrics that are asked of it."""
BOOTSTRAP = 1000
ENOUGH_SEGMENTS = 100  # fewer say little about how far a score may be off
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Measures:
    """What was measured.

    Attributes:
        scores, signatures, intervals: by name; the intervals as far as there was a bootstrap.
        baselines: name -> scores of what a baseline gives in place of the model.
        hypotheses: the model's texts; empty when no metric needed them.
        left_out: pairs too long for the model's context, of which there is no perplexity.
        notes: what happened to sources longer than that.
    """

    scores: dict[str, float]
    signatures: dict[str, str]
    intervals: dict[str, tuple[float, float]]
    baselines: dict[str, dict[str, float]]
    hypotheses: list[str]
    left_out: int
    notes: str


def measure(
    translator: Translator,
    pairs: PairTexts,
    search: Search,
    metrics: Sequence[str],
    *,
    task: str,
    language: str,
    bootstrap: int | None = None,
    decode: bool = False,
    progress: Progress = lambda done: None,
) -> Measures:
    """Translate `pairs` and score the result.

    Args:
        metrics: names, of PAIR_METRICS.
        task: 'translation' or 'summarization'; decides the baselines.
        language: that of the targets.
        bootstrap: samples for the intervals; None: BOOTSTRAP, with ENOUGH_SEGMENTS.
        decode: translate even when no metric needs it.
        progress: told of the sources translated.

    Raises:
        InputError: no pair fits the model's context, or `bootstrap` is not possible.
    """
    texts = [name for name in metrics if name != PERPLEXITY]
    if bootstrap is None:
        bootstrap = BOOTSTRAP if len(pairs.sources) >= ENOUGH_SEGMENTS else 0
    check_bootstrap(bootstrap)  # before the work, not after it
    scores: dict[str, float] = {}
    signatures: dict[str, str] = {}
    intervals: dict[str, tuple[float, float]] = {}
    baselines: dict[str, dict[str, float]] = {}
    hypotheses: list[str] = []
    notes = Notes()
    if texts or decode:
        found = translator.loop.lines(pairs.sources, search, notes, watch=progress)
        hypotheses = [" ".join(best[0].text.splitlines()) for best in found]
        signatures["decoding"] = _decoding_signature(translator, search)
    if texts:
        found_scores = score(hypotheses, pairs.references, texts, language, bootstrap)
        signatures |= found_scores.pop("signatures")
        intervals = found_scores.pop("intervals", {})
        scores |= found_scores
        for name, baseline in _baselines(pairs, task, language).items():
            baselines[name] = score(baseline, pairs.references, texts, language)
            del baselines[name]["signatures"]
    left_out = 0
    if PERPLEXITY in metrics:
        model = require_encoder_decoder(translator.loaded)
        predicted, left_out = _prediction(model, pairs, translator)
        scores |= predicted
        signatures[PERPLEXITY] = _perplexity_signature(translator)
    return Measures(
        scores,
        signatures,
        intervals,
        baselines,
        hypotheses,
        left_out,
        notes.sentence(translator.engine.config.context),
    )


class _Column:
    """One side of the pairs, as PairRows reads it."""

    def __init__(self, documents: Sequence[np.ndarray]):
        self._bounds = np.concatenate([[0], np.cumsum([len(tokens) for tokens in documents])])
        self._tokens = np.concatenate(documents)

    @property
    def document_count(self) -> int:
        return len(self._bounds) - 1

    def bounds(self, first: int, last: int) -> np.ndarray:
        return self._bounds[first : last + 1]

    def read(self, start: int, stop: int) -> np.ndarray:
        return self._tokens[start:stop]


def _prediction(
    model: EncoderDecoder | RecurrentPairModel, pairs: PairTexts, translator: Translator
) -> tuple[dict[str, float], int]:
    """The scores of predicting each first reference from its source, and pairs that do not fit."""
    start_id = translator.loaded.start_id
    assert start_id is not None
    columns = _Column(pairs.source_tokens), _Column(pairs.target_tokens)
    context = model.config.context
    dtype = translator.engine.dtype
    rows: PairRows | SortedPairs
    if isinstance(model, RecurrentPairModel):
        shares = max(1, BATCH_TOKENS // context)
        rows = SortedPairs(*columns, context, shares, start_id, seed=None)
    else:
        rows = PairRows(*columns, context, start_id, seed=None)
    nats, tokens = PairValidation(rows).nats(model, 0, rows.rows_per_epoch, dtype)
    loss = nats / tokens
    return {
        "loss": loss,
        "perplexity": math.exp(min(loss, 700)),
        "bits_per_byte": nats / pairs.target_bytes(context) / math.log(2),
    }, rows.left_out


def _baselines(pairs: PairTexts, task: str, language: str) -> dict[str, list[str]]:
    if task == "summarization":
        count = 1 if primary(language) in CHINESE + JAPANESE else 3
        leads = ["".join(sentences(text)[:count]).strip() for text in pairs.sources]
        return {f"lead-{count}": leads}
    source = pairs.languages[0]
    if source and primary(source) in CHINESE and primary(language) in CHINESE:
        return {"copy": pairs.sources}
    return {}


def _decoding_signature(translator: Translator, search: Search) -> str:
    return "|".join(
        [
            f"xunlian-{xunlian.__version__}",
            f"beam:{search.beam}",
            f"length_penalty:{search.length_penalty:g}",
            f"max_tokens:{search.max_tokens}",
            f"long:{'cut' if search.cut else 'split'}",
            f"precision:{translator.engine.precision}",
        ]
    )


def _perplexity_signature(translator: Translator) -> str:
    return "|".join(
        [
            f"xunlian-{xunlian.__version__}",
            f"context:{translator.engine.config.context}",
            "unit:target-token",
            "end:scored",
            f"precision:{translator.engine.precision}",
            f"tokenizer:{translator.loaded.tokenizers.fingerprint[:12]}",
        ]
    )
