"""A loaded encoder-decoder that turns texts into texts: what `xunlian.load` gives for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import torch

from xunlian.decoding.beam import Searches
from xunlian.decoding.pair_engine import PairEngine
from xunlian.decoding.precision import decide_precision
from xunlian.decoding.recurrent_pair_engine import RecurrentPairEngine
from xunlian.decoding.translate import Loop, Notes, Search
from xunlian.errors import InputError
from xunlian.models.recurrent_pairs import RecurrentPairModel
from xunlian.recipe.load import validate
from xunlian.recipe.settings import Decoding
from xunlian.runs.load import Loaded, in_languages, require_decoder, require_encoder_decoder


@dataclass(frozen=True)
class Translator:
    """A model ready to translate or summarize. What is left out comes from the run's recipe.

    An empty text gives an empty text. In fp32, a text's translation does not depend on the others.
    """

    loaded: Loaded
    engine: Searches

    @property
    def loop(self) -> Loop:
        assert self.loaded.frames is not None
        return Loop(self.engine, self.loaded.tokenizers, self.loaded.frames, self.loaded.end_ids)

    def translate(
        self,
        text: str | Sequence[str],
        *,
        beam: int | None = None,
        length_penalty: float | None = None,
        nbest: int | None = None,
        max_tokens: int | None = None,
        prefix: str = "",
    ) -> str | list[str] | list[list[str]]:
        """The translation of `text`; for several, a list. With `nbest`, a list for each text.

        Raises:
            InputError: a value is out of its range.
        """
        search = self.search(
            beam=beam, length_penalty=length_penalty, nbest=nbest or 1, max_tokens=max_tokens,
            prefix=prefix,
        )  # fmt: skip
        return self._texts(text, search, nbest)

    def summarize(
        self,
        text: str | Sequence[str],
        *,
        beam: int | None = None,
        length_penalty: float | None = None,
        nbest: int | None = None,
        max_tokens: int | None = None,
        prefix: str = "",
    ) -> str | list[str] | list[list[str]]:
        """As `translate`; of a text longer than the context, the beginning is read.

        Raises:
            InputError: a value is out of its range.
        """
        search = self.search(
            beam=beam, length_penalty=length_penalty, nbest=nbest or 1, max_tokens=max_tokens,
            prefix=prefix, cut=True,
        )  # fmt: skip
        return self._texts(text, search, nbest)

    def generate(self, *_: object, **__: object) -> NoReturn:
        """Not what an encoder-decoder does.

        Raises:
            InputError: always, saying so.
        """
        require_decoder(self.loaded)
        raise AssertionError

    stream = generate

    def search(
        self,
        *,
        beam: int | None = None,
        length_penalty: float | None = None,
        max_tokens: int | None = None,
        nbest: int = 1,
        prefix: str = "",
        alignment: bool = False,
        cut: bool = False,
    ) -> Search:
        """The recipe's settings with these in their place.

        Raises:
            InputError: a value is out of its range.
        """
        given = {"beam": beam, "length_penalty": length_penalty, "max_tokens": max_tokens}
        values = self.loaded.decoding.model_dump()
        values |= {name: value for name, value in given.items() if value is not None}
        decoding: Decoding = validate({"decoding": values}, "translate").decoding
        most = self.engine.config.vocab_size // (2 * len(self.loaded.end_ids))
        if decoding.beam > most:
            raise InputError(
                f"beam = {decoding.beam} is too wide for a vocabulary of "
                f"{self.engine.config.vocab_size} tokens; at most {most}."
            )
        if not 1 <= nbest <= decoding.beam:
            raise InputError(
                f"nbest = {nbest} is not between 1 and the beam of {decoding.beam}. Set a larger "
                "beam, or ask for fewer."
            )
        _check_unicode("prefix", prefix)
        tokens = tuple(self.loaded.tokenizers.target.encode(prefix))
        if len(self.loop.frames.forced) + len(tokens) + 2 > self.engine.config.context:
            raise InputError(
                f"The prefix has {len(tokens)} tokens, which leaves no room in the model's "
                f"{self.engine.config.context}. Shorten it."
            )
        return Search(
            beam=decoding.beam,
            length_penalty=decoding.length_penalty,
            max_tokens=decoding.max_tokens,
            nbest=nbest,
            prefix=tokens,
            alignment=alignment,
            cut=cut,
        )

    def _texts(
        self, text: str | Sequence[str], search: Search, nbest: int | None
    ) -> str | list[str] | list[list[str]]:
        texts = [text] if isinstance(text, str) else list(text)
        for each in texts:
            _check_unicode("text", each)
        found = [[t.text for t in ts] for ts in self.loop.lines(texts, search, Notes())]
        if isinstance(text, str):
            return found[0][0] if nbest is None else found[0]
        return [ts[0] for ts in found] if nbest is None else found


def prepare_translator(loaded: Loaded, precision: str = "auto") -> Translator:
    """Make an encoder-decoder ready on the device of this machine.

    Raises:
        InputError: it is a language model, it has to be told the languages and was not, or there
            is no such precision.
    """
    model = require_encoder_decoder(loaded)
    loaded = in_languages(loaded, None, None)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = decide_precision(precision, device)
    if isinstance(model, RecurrentPairModel):
        return Translator(loaded, RecurrentPairEngine(model.to(device), precision))
    return Translator(loaded, PairEngine(model.to(device), precision))


def _check_unicode(what: str, text: str) -> None:
    """Bytes of a command line that are no UTF-8 arrive as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"The {what} {text!r} is not UTF-8 text ({error.reason}).") from error
