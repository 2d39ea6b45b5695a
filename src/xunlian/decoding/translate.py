"""The loop: lines of text in, their targets out, many at once.

Notable ideas:
- Lines come as a stream. A window of them is sorted by length, so that a batch holds sources of
  nearly one length, and given back in its own order: memory does not grow with the input.
- A text longer than the model's context is cut where sentences end, and the parts' translations
  are joined; a summary reads the beginning only. Both are counted, so that it can be said.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from xunlian.decoding.alignment import aligned_units, attention_weights, count_units
from xunlian.decoding.beam import Hypothesis, Searches, beam_search
from xunlian.decoding.parallel import map_batches, share_of_core
from xunlian.decoding.sentences import join_texts, parts_that_fit
from xunlian.tokenizer.framing import Frames
from xunlian.tokenizer.sides import Sides

WINDOW = 2048  # lines that are sorted together
BATCH_SOURCES = 64
BATCH_TOKENS = 4096  # of the sources of a batch, padding included


@dataclass(frozen=True)
class Translation:
    """A target, its log p / length^alpha, and pairs (source unit, target unit) if asked for."""

    text: str
    score: float
    alignment: tuple[tuple[int, int], ...] | None = None


@dataclass(frozen=True)
class Search:
    """How targets are found. `prefix` are the tokens that each begins with, of a text in parts the
    first."""

    beam: int
    length_penalty: float
    max_tokens: int
    nbest: int = 1
    prefix: tuple[int, ...] = ()
    alignment: bool = False
    cut: bool = False  # of a source that is too long, read the beginning only


@dataclass
class Notes:
    """What happened to sources longer than the context."""

    split: int = 0
    cut: int = 0

    def sentence(self, context: int) -> str:
        """For the user; empty when nothing happened."""
        told = []
        for count, what in ((self.split, "split at sentence ends"), (self.cut, "cut")):
            if count:
                told.append(f"{count:,} {'source was' if count == 1 else 'sources were'} {what}")
        if not told:
            return ""
        return f"{' and '.join(told)}: longer than the {context:,} tokens that the model reads."


@dataclass
class _Line:
    """A source in parts, and what became of each part: its hypotheses and their alignments."""

    parts: list[list[int]]
    found: list[list[Hypothesis]] = field(default_factory=list)
    pairs: list[list[list[tuple[int, int]]]] = field(default_factory=list)


@dataclass(frozen=True)
class Loop:
    """An engine with the tokens that its sequences are made of."""

    engine: Searches
    tokenizers: Sides
    frames: Frames
    end_ids: frozenset[int]

    @property
    def start_id(self) -> int:
        assert self.frames.start_id is not None
        return self.frames.start_id

    def lines(
        self,
        texts: Iterable[str],
        search: Search,
        notes: Notes,
        *,
        window: int = WINDOW,
        watch: Callable[[int], None] = lambda done: None,
    ) -> Iterator[list[Translation]]:
        """The `nbest` translations of each text, in order.

        At most `window` texts are read ahead. `watch` is told how many parts of texts were just
        decoded; `notes` counts what was too long.
        """
        left = iter(texts)
        while texts_here := list(islice(left, window)):
            lines = self._read(texts_here, search, notes)
            self._decode(lines, search, watch)
            for line in lines:
                yield self._write(line, search)

    def _read(self, texts: list[str], search: Search, notes: Notes) -> list[_Line]:
        tokenizer = self.tokenizers.source
        frame = self.frames.source
        longest = self.engine.config.context - frame.size
        lines = []
        for text, tokens in zip(texts, tokenizer.encode_batch(texts), strict=True):
            if not text.strip() or not tokens:
                lines.append(_Line([]))
                continue
            parts, cut = [tokens[:longest]], len(tokens) > longest
            if cut and not search.cut:
                parts, cut = parts_that_fit(text, tokenizer.encode, longest)
                notes.split += 1
            elif cut:
                notes.cut += 1
            lines.append(_Line([frame.around(part) for part in parts]))
        return lines

    def _decode(self, lines: list[_Line], search: Search, watch: Callable[[int], None]) -> None:
        for line in lines:
            line.found = [[] for _ in line.parts]
            line.pairs = [[] for _ in line.parts]
        batches = []
        every = [(line, i) for line in lines for i in range(len(line.parts))]
        share = share_of_core(len(every), self.engine.device)
        for first in (True, False):  # which has the prefix; what goes on behind it has none
            places = [(line, i) for line, i in every if (i == 0) == first]
            places.sort(key=lambda place: len(place[0].parts[place[1]]), reverse=True)
            while places:
                longest = len(places[0][0].parts[places[0][1]])
                size = max(1, min(BATCH_SOURCES, BATCH_TOKENS // longest, share))
                batches.append(places[:size])
                places = places[size:]
        further = replace(search, prefix=())

        def decode(batch: list[tuple[_Line, int]]) -> int:
            self._decode_batch(batch, further if batch[0][1] else search)
            return len(batch)

        for done in map_batches(decode, batches, self.engine.device):
            watch(done)

    def _decode_batch(self, batch: list[tuple[_Line, int]], search: Search) -> None:
        sources = [line.parts[i] for line, i in batch]
        found = beam_search(
            self.engine,
            sources,
            [self._limit(source, search) for source in sources],
            start_id=self.start_id,
            end_ids=self.end_ids,
            beam=search.beam,
            length_penalty=search.length_penalty,
            nbest=search.nbest,
            forced=self.frames.forced,
            prefix=search.prefix,
        )
        for (line, i), hypotheses in zip(batch, found, strict=True):
            line.found[i] = hypotheses
        if search.alignment:
            aligned = self._align(sources, found, search)
            for (line, i), pairs in zip(batch, aligned, strict=True):
                line.pairs[i] = pairs

    def _limit(self, source: Sequence[int], search: Search) -> int:
        """At most so many new tokens: a target that repeats itself has to end somewhere."""
        room = self.engine.config.context - 1 - len(self.frames.forced) - len(search.prefix)
        return min(search.max_tokens, room, 2 * len(source) + 30)

    def _align(
        self, sources: list[list[int]], found: list[list[Hypothesis]], search: Search
    ) -> list[list[list[tuple[int, int]]]]:
        before = (*self.frames.forced, *search.prefix)
        targets = [[[*before, *h.tokens] for h in hypotheses] for hypotheses in found]
        weights = attention_weights(self.engine, sources, targets, self.start_id)
        decode_source, decode_target = (tokenizer.decode for tokenizer in self.tokenizers)
        return [
            [
                aligned_units(w, source, target, decode_source, decode_target)
                for w, target in zip(ws, several, strict=True)
            ]
            for source, several, ws in zip(sources, targets, weights, strict=True)
        ]

    def _write(self, line: _Line, search: Search) -> list[Translation]:
        """The k-th best of a text in parts is the k-th best of each part; its score their mean."""
        if not line.parts:
            empty = Translation("", 0.0, () if search.alignment else None)
            return [empty] * search.nbest
        decode = self.tokenizers.target.decode
        results = []
        for k in range(search.nbest):
            hypotheses = [found[k] for found in line.found]
            first, *others = (h.tokens for h in hypotheses)
            texts = [decode([*search.prefix, *first]), *(decode([*tokens]) for tokens in others)]
            pairs: list[tuple[int, int]] = []
            if search.alignment:
                source_units = target_units = 0
                for part, text, found in zip(line.parts, texts, line.pairs, strict=True):
                    pairs += [(s + source_units, t + target_units) for s, t in found[k]]
                    source_units += count_units(self.tokenizers.source.decode(part))
                    target_units += count_units(text)
            results.append(
                Translation(
                    join_texts(texts),
                    sum(h.score for h in hypotheses) / len(hypotheses),
                    tuple(pairs) if search.alignment else None,
                )
            )
        return results
