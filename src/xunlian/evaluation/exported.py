"""Whether a model that was exported computes what the run computes.

Both read the same texts: the first of the run's validation split, or a few lines of English and
Chinese where it is not there. An encoder-decoder's targets are what the run's model says most
probably, its end kept out so that there is something to compare. What is exported in fp32 must
agree to rounding; of what is rounded harder, the mean says whether it is still the same model.

Shapes: L length, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from xunlian.corpus.extras import need
from xunlian.decoding.beam import beam_search
from xunlian.decoding.pair_engine import PairEngine
from xunlian.errors import InputError, XunlianError
from xunlian.evaluation.onnx_sessions import Logits, decoder_logits, pair_logits
from xunlian.evaluation.scores import score
from xunlian.interop.gguf_model import read_gguf
from xunlian.models.decoder import Decoder
from xunlian.models.encoder_decoder import EncoderDecoder
from xunlian.runs.folder import open_run
from xunlian.runs.load import Loaded, is_run
from xunlian.shards.corpus import open_corpus
from xunlian.tokenizer.framing import Frame

_TEXTS = (
    "Once upon a time there was a king who had three daughters.",
    "The weather was fine, and 12 of us went down to the river.",
    "How do you say that in another language?",
    "从前有一个国王，他有三个女儿。",
    "今天天气很好，我们一起去了河边。",
)
_MOST_TEXTS, _MOST_TOKENS, _TARGET_TOKENS, _LONGEST_TEXT = 8, 128, 16, 48

EXACT = 1e-4
"""Largest difference of what is exported in fp32, relative to the largest logit above 1."""

_LIMITS = {"f16": 0.01, "float16": 0.01, "q8_0": 0.1, "int8": 0.1, "int8_float32": 0.1}
"""Largest mean, in nats a token, of what is rounded: beyond it, something else is wrong."""


@dataclass(frozen=True)
class Agreement:
    """How far two models are from each other on the same texts.

    Attributes:
        greatest_difference: of a logit (of a log probability, where an engine gives no logits).
        mean_difference: nats a token: the Kullback-Leibler divergence from the run's distribution
            (without logits, the difference of the log probabilities).
        scale: the largest logit, or 1.
        same_texts: of encoder-decoders that the engine itself decodes, how many lines it
            translates the same (beam 4), and `chrf` between both translations.
    """

    texts: int
    tokens: int
    greatest_difference: float
    mean_difference: float
    scale: float = 1.0
    same_texts: int | None = None
    chrf: float | None = None

    def figures(self) -> dict[str, Any]:
        """Those that were measured."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def require(self, type_: str) -> None:
        """Raises XunlianError when the difference is more than the type's rounding explains."""
        limit = _LIMITS.get(type_)
        exact = limit is None
        found = self.greatest_difference if exact else self.mean_difference
        # Not `>`: a difference that is no number is one, too.
        if not found <= (EXACT * self.scale if limit is None else limit):
            raise XunlianError(
                f"The exported model does not compute what the run computes: the "
                f"{'greatest' if exact else 'mean'} difference is {found:.3g}. Nothing was "
                "written. Try another --type; if that fails, too, please report it."
            )


def sample_tokens(run: Path | str, loaded: Loaded) -> list[list[int]]:
    """Texts to compare on; sources of an encoder-decoder have around them what it wants."""
    frame = loaded.frames.source if loaded.frames else Frame((), ())
    most = min(_MOST_TOKENS, loaded.model.config.context) - frame.size
    found = list(islice(_validation(run, loaded), _MOST_TEXTS))
    found = found or [loaded.tokenizer.encode(text) for text in _TEXTS]
    return [frame.around(text[:most]) for text in found if text]


def _validation(run: Path | str, loaded: Loaded) -> Iterator[list[int]]:
    """Documents of the corpus of `run`, if both are there and belong together."""
    if not is_run(run):
        return
    path = open_run(run).recipe.corpus.path
    try:
        corpus = open_corpus(path or "")
        if corpus.tokenizer_fingerprint != loaded.tokenizers.fingerprint:
            return
        stream = corpus.stream("val", "source" if loaded.start_id is not None else None)
    except InputError:
        return
    for start, stop in stream.spans():
        ids = stream.read(start, min(stop, start + _MOST_TOKENS)).tolist()
        frame = loaded.tokenizers.frame("source" if loaded.start_id is not None else None)
        ids = ids[len(frame.before) :]
        whole = ids[-len(frame.after) :] == list(frame.after)
        yield ids[: -len(frame.after)] if whole else ids


def compare_gguf(file: Path, model: Decoder, texts: Sequence[Sequence[int]]) -> Agreement:
    """The weights of a GGUF file, in our network, with `model`."""
    theirs, ours = _decoder_logits(read_gguf(file)), _decoder_logits(model)
    return _compare([(theirs(text), ours(text)) for text in texts])


def compare_onnx(folder: Path, loaded: Loaded, texts: Sequence[Sequence[int]]) -> Agreement:
    """The graphs of an ONNX folder, run by onnxruntime with their caches.

    Raises:
        InputError: the library `onnxruntime` is missing.
    """
    model = loaded.model
    if isinstance(model, Decoder):
        theirs = decoder_logits(folder)
        return _compare([(theirs(text), _decoder_logits(model)(text)) for text in texts])
    assert isinstance(model, EncoderDecoder) and loaded.start_id is not None
    found = []
    for source in texts:
        target = [loaded.start_id, *_say(model, source, loaded.start_id, loaded.end_ids)]
        found.append((pair_logits(folder, source)(target), _pair_logits(model, source)(target)))
    return _compare(found)


def compare_ctranslate2(
    folder: Path, loaded: Loaded, texts: Sequence[Sequence[int]], type_: str
) -> Agreement:
    """A folder of CTranslate2, run by it on the processor; encoder-decoders also translate."""
    engine, model = need("ctranslate2", "ctranslate2"), loaded.model
    # Processors compute fp16 in fp32; CTranslate2 warns of it unless it is asked for.
    compute = "float32" if type_ == "float16" else "default"
    if isinstance(model, Decoder):
        generator = engine.Generator(str(folder), device="cpu", compute_type=compute)

        def theirs(text: Sequence[int]) -> np.ndarray:
            return np.array(generator.forward_batch([list(text)]))[0]

        return _compare([(theirs(text), _decoder_logits(model)(text)) for text in texts])
    translator = engine.Translator(str(folder), device="cpu", compute_type=compute)
    return _compare_translator(translator, loaded, texts)


def _compare(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Agreement:
    """Of (their logits, ours), each (L, V)."""
    greatest, scale, divergences = 0.0, 1.0, []
    for theirs, ours in pairs:
        greatest = max(greatest, float(np.abs(theirs - ours).max()))
        scale = max(scale, float(np.abs(ours).max()))
        log_p, log_q = (
            torch.from_numpy(logits).double().log_softmax(-1) for logits in (ours, theirs)
        )
        divergences.append((log_p.exp() * (log_p - log_q)).sum(-1))
    every = torch.cat(divergences)
    # Rounding may make the mean of equals a little less than nothing.
    mean = max(0.0, every.mean().item()) if not every.isnan().any() else float("nan")
    return Agreement(len(pairs), len(every), greatest, mean, scale)


def _decoder_logits(model: Decoder) -> Logits:
    @torch.inference_mode()
    def logits(text: Sequence[int]) -> np.ndarray:
        return np.asarray(model.logits(torch.tensor([text]))[0].numpy())

    return logits


def _pair_logits(model: EncoderDecoder, source: Sequence[int]) -> Logits:
    tokens = torch.tensor([source])
    memory = None

    @torch.inference_mode()
    def logits(target: Sequence[int]) -> np.ndarray:
        nonlocal memory
        if memory is None:
            memory = model.encode(tokens, torch.zeros_like(tokens))
        targets = torch.tensor([target])
        hidden = model.decode(memory, torch.zeros_like(tokens), targets, torch.zeros_like(targets))
        return np.asarray(F.linear(hidden, model.head_weight)[0].numpy())

    return logits


def _say(
    model: EncoderDecoder, source: Sequence[int], start: int, ends: frozenset[int]
) -> list[int]:
    """The most probable target, token by token, which does not end."""
    logits, target = _pair_logits(model, source), [start]
    for _ in range(min(_TARGET_TOKENS, model.config.context - 1)):
        last = logits(target)[-1]
        last[[start, *ends]] = -np.inf
        target.append(int(last.argmax()))
    return target[1:]


def _compare_translator(
    translator: Any, loaded: Loaded, texts: Sequence[Sequence[int]]
) -> Agreement:
    model, start = loaded.model, loaded.start_id
    assert isinstance(model, EncoderDecoder) and start is not None
    source_names = loaded.tokenizers.source.tokens(model.config.vocab_size)
    target_names = loaded.tokenizers.target.tokens(model.config.vocab_size)
    sources = [[source_names[i] for i in source] for source in texts]
    targets = [_say(model, source, start, loaded.end_ids) for source in texts]
    scored = translator.score_batch(sources, [[target_names[i] for i in t] for t in targets])
    differences = []
    for source, target, theirs in zip(texts, targets, scored, strict=True):
        logits = torch.from_numpy(_pair_logits(model, source)([start, *target])).log_softmax(-1)
        said = torch.tensor([*target, loaded.tokenizer.end_id])
        log_probs = logits[torch.arange(len(said)), said].numpy()
        differences.append(np.abs(log_probs - np.array(theirs.log_probs)))
    every = np.concatenate(differences)

    # A model that has learned little never ends: a text is compared as far as this.
    limit = min(_LONGEST_TEXT, model.config.context - 1)
    target_tokenizer = loaded.tokenizers.target
    found = translator.translate_batch(sources, beam_size=4, max_decoding_length=limit)
    ids = {name: i for i, name in enumerate(target_names)}
    their_texts = [
        target_tokenizer.decode(ids[token] for token in result.hypotheses[0]) for result in found
    ]
    best = beam_search(
        PairEngine(model, "fp32"), texts, [limit] * len(texts), start_id=start,
        end_ids=loaded.end_ids, beam=4,
    )  # fmt: skip
    our_texts = [target_tokenizer.decode(several[0].tokens) for several in best]
    return Agreement(
        texts=len(texts),
        tokens=len(every),
        greatest_difference=float(every.max()),
        mean_difference=float(every.mean()),
        same_texts=sum(a == b for a, b in zip(our_texts, their_texts, strict=True)),
        chrf=float(score(their_texts, our_texts, metrics=["chrf"])["chrf"]),
    )
