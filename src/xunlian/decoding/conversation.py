"""An engine for one conversation: what it has read or said it does not read again.

A turn's prompt begins, as a rule, with the prompt and the answer of the turn before. Where turns
were forgotten or the system message is another, it is read from the first token that differs.
"""

from dataclasses import replace

from torch import Tensor

from xunlian.decoding.cache import Cache
from xunlian.decoding.engine import Engine
from xunlian.decoding.model import LoadedModel
from xunlian.decoding.prefix import NOTHING, Prefix


class ConversationEngine:
    """An `Engine` that keeps the keys and values of one text: what was read last, and what was
    said after it by one row. Its memory is that of one row."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self.context = engine.context
        self.device = engine.device
        self.precision = engine.precision
        self._known = NOTHING
        self._growing: Cache | None = None  # the cache of one row that `_known` is part of

    def new_cache(self, rows: int, columns: int) -> Cache:
        return self.engine.new_cache(rows, columns)

    def read(self, cache: Cache, texts: dict[int, list[int]]) -> dict[int, Tensor]:
        """As `Engine.read`. Several texts that differ leave what is kept as it was."""
        logits = self.engine.read(cache, texts, self._known)
        first, *others = texts.values()
        if others == [first] * len(others):
            assert len(first) == cache.used  # an answer ends with the context: no window slides
            self._keep(cache, list(first))
        return logits

    def step(self, cache: Cache, tokens_B: Tensor) -> Tensor:
        """As `Engine.step`."""
        tokens = self._known.tokens if cache is self._growing else []
        # Ctrl-C may come at any time: a column is known when it is whole, and not before.
        del tokens[cache.used :]
        logits_BV = self.engine.step(cache, tokens_B)
        tokens += tokens_B.tolist()
        return logits_BV

    def _keep(self, cache: Cache, tokens: list[int]) -> None:
        if len(cache.starts) == 1:
            self._known, self._growing = Prefix(tokens, cache.keys, cache.values), cache
            return
        # Many answers to one prompt: the prompt is kept, and not the memory of so many rows.
        keys, values = (
            [x_BGTK[:1, :, : len(tokens)].clone() for x_BGTK in layers]
            for layers in (cache.keys, cache.values)
        )
        self._known, self._growing = Prefix(tokens, keys, values), None


def for_conversation(model: LoadedModel) -> LoadedModel:
    """The model with an engine of its own for one conversation.

    A recurrent network keeps no more than its last state, and reads every prompt whole.
    """
    if not isinstance(model.engine, Engine):
        return model
    return replace(model, engine=ConversationEngine(model.engine))
