"""The stages of a recipe, from messy text to shards, and what the corpus says of them."""

from pathlib import Path

import orjson
import pytest

import xunlian
from xunlian.corpus.reading.readers import read_documents
from xunlian.corpus.reading.sources import find_sources
from xunlian.errors import InputError
from xunlian.recipe.settings import Corpus as CorpusSettings
from xunlian.tokenizer.tokenizer import load_tokenizer

GOOD = (
    "The town of {0} lies on the river and has been known for its market since the year 1{1}. "
    "People from the villages come here with fruit and cloth. In the old streets there are still "
    "houses that the weavers built, and many of them have been restored with care. The bridge was "
    "finished when the railway came. It is said that nobody in {0} ever goes to bed hungry."
)
NAMES = ("Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Gorse", "Hazel")
CHINESE = (
    "这座小城在河边，从一九{0}年起就以集市闻名。周围村子里的人带着水果和布匹到这里来，老街上还有织布工人"
    "盖的房子，其中不少都被细心地修好了。铁路通车的那一年，桥也建成了。据说城里从来没有人饿着肚子睡觉，"
    "外地来的客人也总能找到一碗热汤。"
)


def documents(corpus) -> list[str]:
    tokenizer = load_tokenizer(corpus.path)
    splits = ("train", "val")
    return [tokenizer.decode(ids) for name in splits for ids in corpus.stream(name).documents()]


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    pytest.importorskip("fasttext", reason="the extra `web` is not installed")
    texts = [GOOD.format(name, 800 + 7 * i) for i, name in enumerate(NAMES)]
    texts[0] += " Write to ann@alder-town.org."
    texts += [CHINESE.format(name) for name in "一二三四"]
    texts += [texts[1], "Home | About | Contact", "Der Fluss ist im Winter oft zugefroren. " * 9]
    path = tmp_path / "messy.jsonl"
    path.write_bytes(b"".join(orjson.dumps({"text": text}) + b"\n" for text in texts))
    return path


ALL = ("clean", "quality", "privacy", "deduplicate", "bias_audit")


def test_each_stage_does_its_part_and_is_counted(messy: Path, tmp_path: Path) -> None:
    overrides = [f"corpus.{name}=true" for name in ALL]
    overrides += ['corpus.language.keep=["en", "zh"]', "corpus.deduplicate.similarity=1"]
    corpus = xunlian.prepare(
        messy, out=tmp_path / "out", tokenizer="byte", val=0, overrides=overrides
    )
    left = documents(corpus)
    assert len(left) == 12 and "<EMAIL>" in left[0] and "ann@" not in left[0]
    stages = corpus.card["stages"]
    assert list(stages) == ["read", "clean", "language", "quality", "privacy", "duplicates"]
    assert stages["language"]["dropped"].keys() & {"language_de", "language_uncertain"}
    assert stages["privacy"]["changes"] == {"email": 1}
    assert stages["duplicates"]["dropped"] == {"exact_duplicate": 1}
    assert stages["duplicates"]["left"] == 12
    assert sum(corpus.card["languages_found"].values()) == 12
    assert corpus.card["bias"]["groups"]
    page = (corpus.path / "report.html").read_text("utf-8")
    assert "exact duplicate" in page and "language" in page and "ann@" not in page


def test_examples_of_what_was_left_out_show_no_personal_data(messy: Path, tmp_path: Path) -> None:
    with open(messy, "ab") as file:
        file.write(orjson.dumps({"text": "Too short. Write to carol@example.org."}) + b"\n")
    corpus = xunlian.prepare(
        messy,
        out=tmp_path / "out",
        tokenizer="byte",
        val=0,
        overrides=["corpus.quality=true", "corpus.privacy=true"],
    )
    page = (corpus.path / "report.html").read_text("utf-8")
    assert "Too short. Write to &lt;EMAIL&gt;." in page and "carol@" not in page


def test_near_copies_go_whatever_file_they_are_in(messy: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text(GOOD.format("Alder", 800) + " One more sentence.", "utf-8")
    corpus = xunlian.prepare(
        messy,
        other,
        out=tmp_path / "out",
        tokenizer="byte",
        val=0,
        overrides=["corpus.deduplicate=true"],
    )
    dropped = corpus.card["stages"]["duplicates"]["dropped"]
    assert dropped["near_duplicate"] >= 1 and dropped["exact_duplicate"] == 1


def test_text_to_validate_on_is_cleaned_but_never_left_out(messy: Path, tmp_path: Path) -> None:
    val = tmp_path / "val.txt"
    val.write_text("Home | About. Write to bob@example.com!", "utf-8")
    overrides = ["corpus.quality=true", "corpus.privacy=true", "corpus.deduplicate=true"]
    corpus = xunlian.prepare(
        messy, out=tmp_path / "out", tokenizer="byte", val=val, overrides=overrides
    )
    assert documents(corpus)[-1] == "Home | About. Write to <EMAIL>!"


def test_evaluation_sets_are_kept_out(messy: Path, tmp_path: Path) -> None:
    questions = tmp_path / "questions.txt"
    questions.write_text(GOOD.format("Cedar", 814) + "\n", "utf-8")
    corpus = xunlian.prepare(
        messy,
        out=tmp_path / "out",
        tokenizer="byte",
        val=0,
        overrides=[f'corpus.decontaminate.sets=["{questions}"]'],
    )
    assert corpus.card["stages"]["decontaminate"]["dropped"]["contaminated"] >= 1
    assert not any("Cedar" in text for text in documents(corpus))


def test_the_text_of_web_pages_is_taken_out(tmp_path: Path) -> None:
    pytest.importorskip("resiliparse", reason="the extra `web` is not installed")
    body = "".join(f"<p>{GOOD.format(name, 900)}</p>" for name in NAMES)
    page = f"<html><body><nav><a href='/'>Home</a></nav><article>{body}</article></body></html>"
    (tmp_path / "page.html").write_text(page, "utf-8")
    corpus = xunlian.prepare(tmp_path / "page.html", out=tmp_path / "out", tokenizer="byte", val=0)
    (text,) = documents(corpus)
    assert text.count("\n") >= 7 and "<p>" not in text and "Home" not in text
    assert corpus.card["stages"]["extract"]["changes"] == {"pages": 1}


def test_a_recipe_may_be_followed_by_files(messy: Path, tmp_path: Path) -> None:
    corpus = xunlian.prepare(
        "prepare-web-bilingual", messy, out=tmp_path / "out", tokenizer="byte", val=0
    )
    stages = corpus.card["stages"]
    assert stages["read"]["pieces"] > stages["duplicates"]["left"] > 8
    assert "language_de" in stages["language"]["dropped"]


def test_nothing_left_is_said(messy: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the stages left nothing of it"):
        xunlian.prepare(
            messy,
            out=tmp_path / "out",
            overrides=['corpus.language.keep=["fr"]', "corpus.quality.min_words=5000"],
        )


def test_weights_are_shares_of_the_tokens(tmp_path: Path) -> None:
    large, small = tmp_path / "large.txt", tmp_path / "small.txt"
    large.write_text("".join(f"a line of the large text, {i}\n" for i in range(3000)))
    small.write_text("".join(f"a line of the small one, {i}\n" for i in range(500)))
    recipe = tmp_path / "mixture.toml"
    recipe.write_text(
        '[corpus]\ndocuments = "line"\nval = "0"\nmixture = [\n'
        f'{{name = "large", sources = ["{large}"], weight = 3}},\n'
        f'{{name = "small", sources = ["{small}"], weight = 1.5}}]\n[tokenizer]\nkind = "byte"\n'
    )
    corpus = xunlian.prepare(recipe, out=tmp_path / "out")
    mixture = corpus.card["mixture"]
    assert mixture["large"]["copies"] == 1 and 2 < mixture["small"]["copies"] < 4
    texts = documents(corpus)
    tokens = {name: sum(len(t) + 1 for t in texts if name in t) for name in ("large", "small")}
    assert tokens["large"] / tokens["small"] == pytest.approx(2, rel=0.01)
    thin = xunlian.prepare(recipe, out=tmp_path / "thin", overrides=["corpus.max_copies=1"])
    assert thin.card["mixture"]["small"]["copies"] == 1
    assert thin.tokens("train") < corpus.tokens("train") / 2
    corpus.verify()


def test_a_share_of_many_files_is_that_share_of_them(tmp_path: Path) -> None:
    web, wiki = tmp_path / "web", tmp_path / "wiki.jsonl"
    web.mkdir()
    for i in range(12):
        (web / f"{i:02}.txt").write_text(f"web text {i:02}")
    rows = (orjson.dumps({"text": f"wikitext {i:02}"}) + b"\n" for i in range(6))
    wiki.write_bytes(b"".join(rows))
    recipe = tmp_path / "mixture.toml"
    recipe.write_text(
        '[corpus]\nval = "0"\nmax_copies = 1\nmixture = [\n'
        f'{{name = "web", sources = ["{web}"], weight = 1}},\n'
        f'{{name = "wiki", sources = ["{wiki}"], weight = 1}}]\n'
        '[tokenizer]\nkind = "byte"\n'
    )
    corpus = xunlian.prepare(recipe, out=tmp_path / "out")
    assert corpus.card["mixture"]["web"]["copies"] == 0.5
    texts = documents(corpus)
    assert sum("wikitext" in text for text in texts) == 6
    assert sum("web text" in text for text in texts) == pytest.approx(6, abs=1)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("corpus.qualiti=true", "Did you mean"),
        ("corpus.quality.min_word=3", "Did you mean 'corpus.quality.min_words'"),
        ("corpus.quality=yes", "corpus.quality"),
        ("corpus.deduplicate.similarity=2", "less than or equal to 1"),
        ('corpus.quality.patterns=["("]', "pattern"),
    ],
)
def test_a_wrong_setting_is_named(messy: Path, tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        xunlian.prepare(messy, out=tmp_path / "out", overrides=[override])
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_documents_of_a_dump_are_what_its_marks_enclose(tmp_path: Path) -> None:
    dump = tmp_path / "wiki_00"
    dump.write_text(
        '<doc id="1" url="x" title="One">\nOne\n\nFirst text.\n</doc>\n'
        '<doc id="2" url="y" title="Two">\nTwo\n\n' + "Second text.\n" * 60_000 + "</doc>\n",
        "utf-8",
    )
    from collections import Counter

    settings = CorpusSettings(sources=(str(dump),), documents="wiki")
    pieces = list(read_documents(find_sources([str(dump)]), settings, Counter(), lambda _: None))
    firsts = [piece.text for piece in pieces if piece.first]
    assert firsts[0] == "One\n\nFirst text." and firsts[1].startswith("Two\n\nSecond text.\n")
    assert len(firsts) == 2 and not any("doc" in piece.text for piece in pieces)
    assert sum(piece.text.count("Second") for piece in pieces) == 60_000
