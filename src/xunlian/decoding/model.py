"""A loaded model that continues text: what `xunlian.load` gives, and what the verb uses."""

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

import torch

from xunlian.console import progress
from xunlian.decoding.engine import Engine
from xunlian.decoding.generate import Generates, generate_texts
from xunlian.decoding.precision import decide_precision
from xunlian.decoding.recurrent_engine import RecurrentEngine
from xunlian.decoding.translator import Translator, prepare_translator
from xunlian.errors import InputError
from xunlian.models.decoder import Decoder
from xunlian.models.encoder_decoder import EncoderDecoder
from xunlian.models.recurrent import RecurrentModel
from xunlian.models.recurrent_pairs import RecurrentPairModel
from xunlian.recipe.load import validate
from xunlian.recipe.settings import Decoding
from xunlian.runs.load import Loaded, require_decoder, require_encoder_decoder


@dataclass(frozen=True)
class Continuation:
    """What a model wrote after one prompt.

    `finish` says why it stopped: at an 'end' token, a 'stop' string, or the 'length' asked for.
    """

    prompt: str
    text: str
    tokens: int
    finish: str


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to continue text. Every setting that is left out comes from the run's recipe.

    An empty prompt starts a new document. A prompt longer than the context loses its beginning,
    with a warning. The same seed gives the same text, whatever the other prompts (on the same
    machine; next to other prompts exactly so in fp32).
    """

    loaded: Loaded
    engine: Generates

    def generate(
        self,
        prompt: str | Sequence[str],
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
    ) -> str | list[str]:
        """The text that follows `prompt`, without the prompt; for several, a list of texts.

        Raises:
            InputError: a value is out of its range.
        """
        decoding = self.settings(
            max_tokens=max_tokens, temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p,
            repetition_penalty=repetition_penalty, stop=stop, seed=seed,
        )  # fmt: skip
        prompts = [prompt] if isinstance(prompt, str) else prompt
        texts = [result.text for result in self.continuations(prompts, decoding)]
        return texts[0] if isinstance(prompt, str) else texts

    def stream(
        self,
        prompt: str,
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
    ) -> Iterator[str]:
        """The text that follows `prompt` in pieces, as they come; whole characters only.

        Raises:
            InputError: a value is out of its range.
        """
        decoding = self.settings(
            max_tokens=max_tokens, temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p,
            repetition_penalty=repetition_penalty, stop=stop, seed=seed,
        )  # fmt: skip
        return self.pieces(prompt, decoding)

    def settings(
        self,
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
    ) -> Decoding:
        """The recipe's settings with these in their place, and a seed in any case.

        Raises:
            InputError: a value is out of its range.
        """
        stop = (stop,) if isinstance(stop, str) else stop
        for text in stop or ():
            check_unicode("stop string", text)
        given = {
            "max_tokens": max_tokens,
            "temperature": temperature,
            "top_p": top_p,
            "top_k": top_k,
            "min_p": min_p,
            "repetition_penalty": repetition_penalty,
            "stop": stop,
            "seed": seed,
        }
        values = self.loaded.decoding.model_dump()
        values |= {name: value for name, value in given.items() if value is not None}
        if values["seed"] is None:
            values["seed"] = secrets.randbits(32)
        return validate({"decoding": values}, "generate").decoding

    def pieces(self, prompt: str, decoding: Decoding) -> Iterator[str]:
        """As `stream`, with settings as a whole."""
        tokens = [self._encode(prompt)]
        for _, piece, _ in generate_texts(
            self.engine, self.loaded.tokenizer, tokens, decoding, self.loaded.end_ids
        ):
            if piece:
                yield piece

    def continuations(self, prompts: Sequence[str], decoding: Decoding) -> list[Continuation]:
        """Continue all prompts, with a bar to watch."""
        tokens = [self._encode(prompt) for prompt in prompts]
        found = [Continuation(prompt, "", 0, "length") for prompt in prompts]
        pieces: list[list[str]] = [[] for _ in prompts]
        shown = progress() if len(prompts) > 1 else None
        with shown or contextlib.nullcontext():
            total = len(prompts) * decoding.max_tokens
            task = shown.add_task("generate", total=total) if shown else None
            for number, piece, stream in generate_texts(
                self.engine, self.loaded.tokenizer, tokens, decoding, self.loaded.end_ids
            ):
                pieces[number].append(piece)
                left = 0
                if stream.finish is not None:
                    found[number] = Continuation(
                        prompts[number], "".join(pieces[number]), stream.tokens, stream.finish
                    )
                    left = decoding.max_tokens - stream.tokens
                if shown and task is not None:
                    shown.advance(task, 1 + left)
        return found

    def translate(self, *_: object, **__: object) -> NoReturn:
        """Not what a language model does.

        Raises:
            InputError: always, saying so.
        """
        require_encoder_decoder(self.loaded)
        raise AssertionError

    summarize = translate

    def _encode(self, prompt: str) -> list[int]:
        check_unicode("prompt", prompt)
        tokens = self.loaded.tokenizer.encode_prompt(prompt)
        check_rows(self.loaded, tokens)
        return tokens


def check_rows(loaded: Loaded, tokens: Sequence[int]) -> None:
    """Raises InputError: the network has no row for a token, which its tokenizer was given later
    than its weights."""
    largest, rows = max(tokens, default=0), loaded.model.config.vocab_size
    if largest >= rows:
        name = loaded.tokenizer.backend.id_to_token(largest)
        raise InputError(
            f"The network of '{loaded.folder}' has {rows:,} tokens, and '{name}' is none of them: "
            "its tokenizer belongs to other weights. Copy those that belong together."
        )


def check_unicode(what: str, text: str) -> None:
    """Bytes of a command line that are no UTF-8 arrive as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"The {what} {text!r} is not UTF-8 text ({error.reason}).") from error


def prepare_model(loaded: Loaded, precision: str = "auto") -> LoadedModel | Translator:
    """Make a model ready on the device of this machine.

    `precision` of the matrix products is 'fp32', 'bf16', or 'auto': the one measured faster.

    Raises:
        InputError: there is no such precision.
    """
    if isinstance(loaded.model, EncoderDecoder | RecurrentPairModel):
        return prepare_translator(loaded, precision)
    return prepare_language_model(loaded, precision)


def prepare_language_model(loaded: Loaded, precision: str = "auto") -> LoadedModel:
    """As `prepare_model`.

    Raises:
        InputError: the model is no language model, or there is no such precision.
    """
    model = require_decoder(loaded)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = decide_precision(precision, device)
    return LoadedModel(loaded, make_engine(model.to(device), precision))


def make_engine(model: Decoder | RecurrentModel, precision: str) -> Engine | RecurrentEngine:
    """The engine of a language model; `precision` is 'fp32' or 'bf16'."""
    if isinstance(model, RecurrentModel):
        return RecurrentEngine(model, precision)
    return Engine(model, precision)
