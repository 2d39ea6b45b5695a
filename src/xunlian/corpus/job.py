"""A job: the sources, the chunks they are read into, and what is done with each by tasks."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import xunlian
from xunlian.corpus.columns import marker_path
from xunlian.corpus.duplicates.tasks import STAGE as DUPLICATES
from xunlian.corpus.duplicates.tasks import clusters, sign_tasks, step_tasks
from xunlian.corpus.engines.tasks import Run, Task
from xunlian.corpus.fertility import FERTILITY_BYTES
from xunlian.corpus.mixture import mixed
from xunlian.corpus.page_samples import page_samples
from xunlian.corpus.read_tasks import chunk_name
from xunlian.corpus.reading.divide import split_into_parts
from xunlian.corpus.reading.sources import Source
from xunlian.corpus.runner import Chunk, Runner
from xunlian.corpus.sample import Excerpt
from xunlian.corpus.split import Holdout
from xunlian.corpus.stage_list import PAGE_FORMATS, stages_of
from xunlian.corpus.survey import Survey
from xunlian.corpus.tally import Tally
from xunlian.corpus.work import key_of
from xunlian.errors import InputError
from xunlian.files import read_json
from xunlian.recipe.settings import Corpus as CorpusSettings
from xunlian.report.corpus_page import PageSample
from xunlian.shards.corpus import FORMAT

_READING = ("text_field", "documents", "encoding", "on_error", "reading")


class Encoded(NamedTuple):
    """What was seen while encoding: a sample of the text held out, how many documents there are of
    each language and of each power of two of characters, and the counts of the bias audit."""

    val_sample: list[str]
    languages: Counter[str]
    lengths: Counter[int]
    bias: Counter[str]


class Job:
    """Call its methods in their order."""

    def __init__(
        self,
        work: Path,
        corpus: CorpusSettings,
        train: Mapping[str, list[Source]],
        val: list[Source],
        run: Run,
        keep_text: bool,
    ) -> None:
        self.work, self.corpus, self.keep_text = work, corpus, keep_text
        trained = [(source, name, False) for name, files in train.items() for source in files]
        self.sources = [*trained, *((source, "", True) for source in val)]
        self.runner = Runner(work, run)
        self.aside: list[tuple[str, str, str]] = []
        self.chunks: list[Chunk] = []
        self.places: dict[str, tuple[int, int]] = {}
        self.tallies: list[Tally] = []
        self.clusters: tuple[list[tuple[str, int]], list[list[str]]] = [], []

    def read(self) -> None:
        """Read every source, in parts where it is large, into chunks."""
        # Where documents or parts of them may go, or text is kept, a chunk has whole ones.
        droppers = ("language", "quality", "decontaminate", "deduplicate", "mixture")
        whole = self.keep_text or any(getattr(self.corpus, name) for name in droppers)
        settings = self.corpus.model_dump(mode="json")
        reading = {name: settings[name] for name in _READING} | {"whole": whole}
        parts, sizes = [], []
        for source, group, held_out in self.sources:
            its_parts = split_into_parts(source, self.corpus)
            parts += [(part, group, held_out) for part in its_parts]
            sizes += [source.size / len(its_parts)] * len(its_parts)
        made_by = (FORMAT, xunlian.__version__)
        keys = [key_of(made_by, part.plain(), _stamp(part.source), reading) for part, _, _ in parts]
        tasks = [
            Task(
                "xunlian.corpus.read_tasks:read_part_into_chunks",
                {
                    "part": part.plain(),
                    "number": number,
                    "settings": settings,
                    "key": keys[number],
                    "whole": whole,
                },
            )
            for number, (part, _, _) in enumerate(parts)
        ]

        def count(number: int) -> None:
            marker = read_json(marker_path(self.work, "read", f"{number:05d}"))
            read = Tally.of(marker)
            unread = read.changes["empty_documents"] + read.changes["broken_records"]
            self.runner.display.count("read", read.left + unread, unread)

        self.runner.run("read", tasks, sizes, count)
        for number, (part, group, held_out) in enumerate(parts):
            marker = read_json(marker_path(self.work, "read", f"{number:05d}"))
            self.tallies.append(Tally.of(marker))
            self.aside += [(file, place, reason) for file, place, reason in marker["aside"]]
            pages = part.source.format in PAGE_FORMATS
            size = self.tallies[-1].bytes / max(1, marker["chunks"])
            for i in range(marker["chunks"]):
                stages = stages_of(self.corpus, held_out, pages)
                keyed = key_of(keys[number], i)
                chain = []
                for stage in stages:
                    keyed = key_of(keyed, stage.name, stage.settings)
                    chain.append(keyed)
                names = [stage.name for stage in stages]
                self.chunks.append(
                    Chunk(chunk_name(number, i), group, held_out, pages, size, names, chain)
                )

    def run_stages(self) -> dict[str, Tally]:
        """Bring every chunk through the stages; what each stage did, by its name."""
        settings = self.corpus.model_dump(mode="json")

        def count(number: int) -> None:
            for name in self.chunks[number].stages:
                self.runner.count(name, self.chunks[number].name)

        self.runner.each(
            "clean",
            "run_stages",
            self.chunks,
            lambda chunk: {
                "settings": settings,
                "keys": chunk.keys,
                "held_out": chunk.held_out,
                "pages": chunk.pages,
            },
            sizes=[chunk.size for chunk in self.chunks],
            count=count,
        )
        tallies = {"read": Tally()}
        for tally in self.tallies:
            tallies["read"].add(tally)
        for chunk in self.chunks:
            for name in chunk.stages:
                tallies.setdefault(name, Tally()).add(self.runner.tally(name, chunk.name))
        return tallies

    def deduplicate(self, stages: dict[str, Tally]) -> None:
        """Drop copies over all chunks that are trained on; adds what was done to `stages`."""
        settings = self.corpus.deduplicate
        if not settings:
            return
        train = [chunk for chunk in self.chunks if not chunk.held_out]
        names, before = [chunk.name for chunk in train], [chunk.all_stages() for chunk in train]
        key = key_of(settings.model_dump(mode="json"), [chunk.keys for chunk in train])
        folder = self.work / "signatures" / key
        folder.mkdir(parents=True, exist_ok=True)
        tallies = [self.runner.tally(chunk.stages[-1], chunk.name) for chunk in train]
        tasks = sign_tasks(folder, names, before, settings)
        self.runner.run("sign", tasks, [tallies[task.arguments["number"]].bytes for task in tasks])
        for step, tasks in step_tasks(folder, len(names), settings):
            self.runner.run(f"duplicates: {step}", tasks)
        for chunk in train:
            chunk.keys.append(key_of(chunk.keys, key))
            chunk.stages.append(DUPLICATES)
        tasks = [
            Task(
                "xunlian.corpus.duplicates.tasks:drop_chunk",
                {
                    "chunk": chunk.name,
                    "number": number,
                    "chunks": len(train),
                    "stages": before[number],
                    "folder": str(folder.resolve()),
                    "key": chunk.keys[-1],
                },
            )
            for number, chunk in enumerate(train)
        ]
        self.runner.run(
            "drop copies", tasks, count=lambda number: self.runner.count(DUPLICATES, names[number])
        )
        stages[DUPLICATES] = Tally()
        for name in names:
            stages[DUPLICATES].add(self.runner.tally(DUPLICATES, name))
        self.clusters = clusters(self.work, folder, names, before)

    def pages(self) -> list[PageSample]:
        """Some of the web pages, for the report."""
        chunks = [(chunk.name, chunk.stages) for chunk in self.chunks if chunk.pages]
        return page_samples(
            self.work, chunks, self.corpus.privacy.mask if self.corpus.privacy else ()
        )

    def survey(self, holdout: Holdout, sample_bytes: int) -> Survey:
        """What there is to train on, over all chunks."""
        train = [chunk for chunk in self.chunks if not chunk.held_out]
        last = {
            chunk.name: self.runner.tally(chunk.all_stages()[-1], chunk.name) for chunk in train
        }
        size = sum(tally.bytes for tally in last.values())
        before = offset = 0
        for chunk in train:
            self.places[chunk.name] = before, offset
            tally = last[chunk.name]
            offset = tally.open + (0 if tally.left else offset if tally.open else 0)
            before += tally.left
        self.runner.each(
            "count",
            "survey_chunk",
            train,
            lambda chunk: {
                "stages": chunk.all_stages(),
                "fraction": str(holdout.fraction),
                "before": self.places[chunk.name][0],
                "offset": self.places[chunk.name][1],
                "sample_bytes": -(-sample_bytes * last[chunk.name].bytes // max(1, size)),
            },
            sizes=[last[chunk.name].bytes for chunk in train],
        )
        found = Survey()
        for chunk in train:
            marker = read_json(marker_path(self.work, "survey", chunk.name))
            found.documents += marker["documents"]
            found.characters += marker["characters"]
            found.bytes += marker["bytes"]
            for number, length in marker["lengths"].items():
                found.lengths[number] = found.lengths.get(number, 0) + length
            found.sample += [Excerpt(**excerpt) for excerpt in marker["sample"]]
        if not found.documents:
            sources = [source for source, _, held_out in self.sources if not held_out]
            names = f"'{sources[0].name}' has" if len(sources) == 1 else "The files have"
            blank = not sum(tally.bytes for tally in self.tallies)
            if blank and self.aside:
                raise InputError(f"{names} no text that can be read: {self.aside[0][2]}")
            why = "nothing but blank documents" if blank else "the stages left nothing of it"
            raise InputError(f"{names} no text: {why}.")
        return found

    def encode(
        self, tokenizer: Path, fingerprint: str, dtype: str, holdout: Holdout, cuts: list[int]
    ) -> Encoded:
        """Tokens of all chunks; what was seen on the way."""

        def arguments(chunk: Chunk) -> dict[str, Any]:
            split: dict[str, Any] = {"held_out": chunk.held_out}
            if not chunk.held_out:
                before, offset = self.places[chunk.name]
                split |= {"fraction": str(holdout.fraction), "cuts": cuts}
                split |= {"before": before, "offset": offset}
            return {
                "stages": chunk.all_stages(),
                "dtype": dtype,
                "split": split,
                "val_sample_bytes": FERTILITY_BYTES // len(self.chunks),
                "keep_text": self.keep_text,
                "bias_audit": self.corpus.bias_audit,
                "fingerprint": fingerprint,
            }

        shared = {"tokenizer": str(tokenizer.resolve())}
        sizes = [
            self.runner.tally(chunk.all_stages()[-1], chunk.name).bytes for chunk in self.chunks
        ]
        self.runner.each("encode", "encode_chunk", self.chunks, arguments, shared, sizes)
        seen = Encoded([], Counter(), Counter(), Counter())
        for chunk in self.chunks:
            marker = read_json(marker_path(self.work, "tokens", chunk.name))
            seen.val_sample.extend(marker["val_sample"])
            seen.languages.update(marker["languages"])
            seen.bias.update(marker["bias"])
            seen.lengths.update({int(power): n for power, n in marker["lengths"].items()})
        return seen

    def mix(self) -> tuple[dict[str, float], dict[str, dict[str, Any]]]:
        """(how often each chunk is written, what the card says of each source of the mixture)."""
        if not self.corpus.mixture:
            return {}, {}
        tokens = dict.fromkeys((item.name for item in self.corpus.mixture), 0)
        train = [chunk for chunk in self.chunks if not chunk.held_out]
        for chunk in train:
            counts = read_json(marker_path(self.work, "tokens", chunk.name))["splits"]["train"]
            tokens[chunk.group] += counts.get("tokens", 0)
        copies, told = mixed(tokens, self.corpus.mixture, self.corpus.max_copies)
        return {chunk.name: copies[chunk.group] for chunk in train}, told


def _stamp(source: Source) -> tuple[int, str] | None:
    try:
        return source.stamp()
    except (OSError, InputError):
        return None  # it is gone; reading it will say so
