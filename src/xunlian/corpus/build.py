"""Files in, corpus folder out: the whole preparation.

1. Every source is read into chunks of documents (read_tasks.py).
2. Every chunk goes down the line of stages: cleaned, judged (line.py, stage_list.py).
3. What is left is counted, and a bounded sample of it taken; the tokenizer learns from that.
4. Every chunk is encoded; the tokens of all are written as shards.

Each step is a task for each source or chunk (chunk_tasks.py), which any process can carry out and
which is not done twice (work.py). Memory is bounded by the sample and a few batches, whatever the
size of the text, and the result does not depend on the number of workers. The corpus appears whole
or not at all.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from xunlian.corpus.assemble import assemble, keep_texts
from xunlian.corpus.card import Made, card_of, page_of
from xunlian.corpus.engines.engine import Engine
from xunlian.corpus.fertility import head
from xunlian.corpus.job import Job
from xunlian.corpus.reading.sources import Source, find_sources
from xunlian.corpus.split import Holdout, parse_holdout
from xunlian.corpus.stages.bias import table
from xunlian.corpus.survey import training_text
from xunlian.corpus.vocabulary import make_tokenizer
from xunlian.corpus.work import work_folder
from xunlian.errors import InputError
from xunlian.files import atomic_folder, write_json, write_text
from xunlian.recipe.settings import Corpus as CorpusSettings
from xunlian.recipe.settings import Tokenizer as TokenizerSettings
from xunlian.shards.corpus import CARD, Corpus, open_corpus
from xunlian.shards.format import token_dtype
from xunlian.shards.writer import SHARD_TOKENS


def build_corpus(
    corpus: CorpusSettings,
    tokenizer: TokenizerSettings,
    out: Path,
    engine: Engine | None = None,
    shard_tokens: int = SHARD_TOKENS,
    work: Path | None = None,
    keep_text: bool = False,
) -> Corpus:
    """Prepare `corpus.sources` into the folder `out`.

    Args:
        engine: who carries the tasks out; by default this machine, with all its cores.
        shard_tokens: where to begin the next shard.
        work: a folder to keep what is done in, for other settings; by default one beside `out`,
            which goes when all is done.
        keep_text: leave the cleaned documents in `text/`, too.

    Raises:
        InputError: `out` exists, or anything is wrong with the files or the settings.
    """
    sources, val_sources, holdout = find_inputs(corpus)
    with work_folder(out, work) as folder:
        job = Job(folder, corpus, sources, val_sources, engine or Engine(), keep_text)
        job.read()
        stages = job.run_stages()
        job.deduplicate(stages)
        found = job.survey(holdout, tokenizer.sample_bytes)
        by_tail = found.documents < holdout.enough_documents
        lengths = [found.lengths[str(i)] for i in range(found.documents)] if by_tail else []
        cuts = [holdout.kept_characters(length) for length in lengths]

        def sample() -> Iterator[str]:
            for excerpt in found.sample:
                if text := training_text(excerpt, holdout, lengths, by_tail):
                    yield text

        train_bytes = round(found.bytes * (1 - float(holdout.fraction)))
        with atomic_folder(out) as folder_made:
            model = make_tokenizer(tokenizer, sample, train_bytes)
            model.save(folder_made)
            seen = list(head(sample()))
            found.sample.clear()
            dtype = token_dtype(model.vocab_size)
            encoded = job.encode(folder_made, model.fingerprint, dtype.str, holdout, cuts)
            copies, mixture = job.mix()
            chunks = [chunk.name for chunk in job.chunks]
            splits = assemble(folder, chunks, copies, folder_made, dtype, shard_tokens)
            _check(splits, val_sources)
            if keep_text:
                keep_texts(folder, chunks, folder_made)
            made = Made(
                sources,
                val_sources,
                stages,
                splits,
                mixture,
                model,
                dtype,
                encoded.val_sample or seen,
                job.pages(),
                encoded.languages,
                encoded.lengths,
                *job.clusters,
                table(encoded.bias) if corpus.bias_audit else {},
                job.aside,
            )
            card = card_of(made, corpus, tokenizer)
            write_text(folder_made / "report.html", page_of(made, card, corpus, tokenizer))
            write_json(folder_made / CARD, card)
    return open_corpus(out)


def find_inputs(corpus: CorpusSettings) -> tuple[dict[str, list[Source]], list[Source], Holdout]:
    """The training files by source of the mixture ('' without one), the validation files, and the
    fraction held out of the former."""
    if not corpus.names_text:
        raise InputError("Nothing to prepare: name files or folders, or set corpus.sources.")
    if corpus.sources and corpus.mixture:
        raise InputError("corpus.sources and corpus.mixture both name the text; leave one out.")
    named = {item.name: item.sources for item in corpus.mixture} or {"": corpus.source_paths}
    if len(named) < len(corpus.mixture):
        raise InputError("corpus.mixture: two of its sources have the same name.")
    holdout = parse_holdout(corpus.val)
    val_sources = [] if holdout else find_sources(corpus.val)
    # A validation file inside the folder to train on must not be trained on; nor is a file that
    # two sources of the mixture name read twice.
    seen = {s.path.resolve() for s in val_sources}
    sources: dict[str, list[Source]] = {}
    for name, given in named.items():
        sources[name] = [s for s in find_sources(given) if s.path.resolve() not in seen]
        seen |= {s.path.resolve() for s in sources[name]}
        if not sources[name] and corpus.mixture:
            raise InputError(f"corpus.mixture: all files of '{name}' belong to another source.")
    if not any(sources.values()):
        raise InputError(
            f"corpus.val = '{', '.join(corpus.val)}' is all the text there is: nothing is left "
            "to train on."
        )
    return sources, val_sources, holdout or Holdout(Fraction(0))


def _check(splits: dict[str, dict[str, Any]], val_sources: list[Source]) -> None:
    if not splits["train"]["characters"]:
        raise InputError("The text is too short to hold out a part of it. Use --val 0 or a file.")
    if val_sources and not splits["val"]["characters"]:
        raise InputError(f"'{val_sources[0].name}' has no text to validate on.")
