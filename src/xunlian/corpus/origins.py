"""Where each file comes from: its name, licence and address, as the recipe says."""

from collections.abc import Mapping, Sequence
from typing import Any

from xunlian.corpus.reading.sources import FORMATS, PAIR_FORMATS, Source, expand_source
from xunlian.recipe.corpus import Corpus as CorpusSettings


def with_origins(
    corpus: CorpusSettings, sources: Mapping[str, Sequence[Source]]
) -> list[dict[str, Any]]:
    """For the card: `name` and `bytes` of each file; `origin`, `licence` and `url` where they are
    said.

    Args:
        sources: the files to train on by source of the mixture, or under ''.
    """
    files = [source for group in sources.values() for source in group]
    said: dict[str, dict[str, str]] = {}
    for one in corpus.sources:
        if not isinstance(one, str):
            for source in expand_source(one.path, FORMATS | PAIR_FORMATS):
                said.setdefault(source.name, _origin(one.name, one.licence, one.url, corpus))
    for item in corpus.mixture:
        for source in sources[item.name]:
            said[source.name] = _origin(item.name, item.licence, item.url, corpus)
    everything = _origin("", "", "", corpus)
    return [
        {"name": source.name, "bytes": source.size, **said.get(source.name, everything)}
        for source in files
    ]


def _origin(name: str, licence: str, url: str, corpus: CorpusSettings) -> dict[str, str]:
    said = {"origin": name, "licence": licence or corpus.licence, "url": url}
    return {key: value for key, value in said.items() if value}
