"""What a dry run shows is what preparing would read."""

from pathlib import Path

from xunlian.corpus.preview import preview
from xunlian.corpus.reading.sources import find_sources
from xunlian.recipe.settings import Corpus as CorpusSettings


def test_documents_are_read_as_the_recipe_says(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("# Title\n\nText with **strong** words.\n")
    corpus = CorpusSettings.model_validate({"reading": {"markdown": "plain"}})
    (shown,) = preview(find_sources([str(path)]), corpus, [], 1)
    assert shown.before == shown.after == "Title\n\nText with strong words.\n"
