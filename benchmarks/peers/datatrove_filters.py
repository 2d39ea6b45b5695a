"""datatrove's filters on the texts of a file, for `corpus_quality.py`. Runs in datatrove's Python.

    python datatrove_filters.py TEXTS.json

Prints one JSON object: the verdict of each filter on each text, what it counted, and seconds of
processor time for each filter. The splitter of words remembers the last texts, so a text's words
are split once for all filters, as in a pipeline of datatrove.
"""

import json
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any


def main() -> None:
    from datatrove.data import Document
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )
    from datatrove.utils.text import PUNCTUATION_SET, split_into_sentences, split_into_words

    texts = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    filters = {
        "gopher": GopherQualityFilter(),
        "repetition": GopherRepetitionFilter(),
        "c4": C4QualityFilter(),
        "fineweb": FineWebQualityFilter(),
    }
    split_into_words("Load what has to be loaded.")
    seconds = dict.fromkeys(filters, 0.0)
    verdicts: dict[str, list[str | None]] = {name: [] for name in filters}
    left, words, real = [], [], []
    for text in texts:
        after_c4: str | None = None
        for name, filter_ in filters.items():
            document = Document(text=text, id="")
            start = time.process_time()
            answer: Any = filter_.filter(document) if text.strip() else (False, "empty")
            seconds[name] += time.process_time() - start
            verdicts[name].append(None if answer is True else answer[1])
            if name == "c4" and answer is True:
                after_c4 = document.text
        left.append(after_c4)
        found = split_into_words(text) if text.strip() else []
        words.append(len(found))
        real.append(sum(any(c not in PUNCTUATION_SET for c in word) for word in found))
    sentences = [
        sum(len(split_into_sentences(line)) for line in text.split("\n")) if text else 0
        for text in left
    ]
    versions = {name: metadata.version(name) for name in ("datatrove", "spacy")}
    print(
        json.dumps(
            {
                "verdicts": verdicts,
                "seconds": seconds,
                "left": left,
                "words": words,
                "real_words": real,
                "sentences": sentences,
                "versions": versions,
            }
        )
    )


if __name__ == "__main__":
    main()
