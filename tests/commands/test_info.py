"""info tells what a folder is, reads documents back, and refuses what it does not know."""

import json

import pytest
from made_run import TRAIN, VAL, make_corpus, make_model, make_run, tree

from xunlian import cli
from xunlian.commands.info import info
from xunlian.commands.prepare import prepare
from xunlian.errors import InputError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("info") / "tales")


@pytest.fixture(scope="module")
def run(corpus):
    return make_run(corpus.parent / "tales-1", corpus)


def test_documents_come_back_from_the_shards_as_they_were(corpus):
    assert [d["text"] for d in info(corpus, show=9)["documents"]] == TRAIN
    assert [d["text"] for d in info(corpus, show=2, split="val")["documents"]] == VAL[:2]
    assert "documents" not in info(corpus)


def test_a_corpus_tells_its_counts_and_its_tokenizer(corpus, capsys):
    found = info(corpus)
    assert found["kind"] == "corpus" and found["tokenizer"]["vocab_size"] == 257
    assert found["splits"]["val"]["documents"] == 3
    assert cli.main(["info", str(corpus), "--show", "1", "--split", "val"]) == 0
    text = capsys.readouterr().out
    assert "257 tokens" in text and "3 documents" in text and "tales.txt" in text
    assert text.endswith(VAL[0] + "\n")


def test_a_long_document_is_cut_and_the_cut_is_told(corpus, capsys, monkeypatch):
    monkeypatch.setattr("xunlian.commands.info.SHOWN_TOKENS", 9)
    assert info(corpus, show=1)["documents"][0]["text"] == TRAIN[0][:9]
    cli.main(["info", str(corpus), "--show", "1"])
    assert "the first 9 shown" in capsys.readouterr().out


def test_verify_finds_a_changed_byte(tmp_path):
    corpus = make_corpus(tmp_path / "damaged")
    assert info(corpus, verify=True)["verified"]
    shard = corpus / "val-00000.bin"
    data = bytearray(shard.read_bytes())
    data[10] ^= 1
    shard.write_bytes(data)
    with pytest.raises(InputError, match=r"val-00000\.bin.*damaged"):
        info(corpus, verify=True)


def test_a_run_tells_where_it_is_and_how_to_go_on(run, capsys):
    found = info(run)
    assert found["kind"] == "run" and found["parameters"] == 50_123
    assert (found["best_val_loss"], found["best_step"]) == (3.25, 10)
    assert found["checkpoints"] == ["step-00000020"] and found["finished"]
    assert found["report"] == str(run / "report.html")
    assert cli.main(["info", str(run)]) == 0
    text = capsys.readouterr().out
    assert "50,123 parameters" in text and "3.2500 at step 10" in text
    assert f"xunlian generate {run}" in text and f"xunlian evaluate {run}" in text


def test_an_interrupted_run_says_how_it_is_resumed(corpus, tmp_path):
    run = make_run(tmp_path / "cut short", corpus, finished=False)
    assert info(run)["next"][0] == f"xunlian train '{run}' --resume"


def test_a_run_that_has_just_begun_is_told_without_guesses(corpus, tmp_path, capsys):
    run = tmp_path / "new"
    run.mkdir()
    (run / "recipe.toml").write_text(f'[corpus]\npath = "{corpus}"\n')
    found = info(run)
    assert (found["step"], found["best_val_loss"], found["next"]) == (0, None, [])
    assert cli.main(["info", str(run)]) == 0
    assert "none yet" in capsys.readouterr().out


def test_a_model_folder_tells_its_configuration_and_size(tmp_path, capsys):
    folder = make_model(tmp_path / "model")
    found = info(folder)
    assert found["kind"] == "model" and found["config"]["model_type"] == "qwen3"
    # 2 x 257 x 32 embeddings, 2 layers of attention 3072, MLP 4608 and norms 96, one last norm.
    assert found["parameters"] == 2 * 257 * 32 + 2 * (3072 + 4608 + 96) + 32
    assert cli.main(["info", str(folder)]) == 0
    assert "qwen3" in capsys.readouterr().out


def test_a_configuration_that_is_no_object_is_told(tmp_path, capsys):
    (tmp_path / "config.json").write_text("[1]")
    assert cli.main(["info", str(tmp_path)]) == 2
    assert "config.json' is damaged" in capsys.readouterr().err


def test_json_is_one_object_for_each_kind(corpus, run, capsys):
    for path, kind in ((corpus, "corpus"), (run, "run"), (run / "model", "model")):
        assert cli.main(["info", str(path), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["kind"] == kind


def test_info_changes_nothing(corpus, run):
    before = tree(corpus.parent)
    info(run)
    info(corpus, show=2, verify=True)
    assert tree(corpus.parent) == before


def test_anything_else_is_refused_with_the_mend(corpus, run, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    text = tmp_path / "story.txt"
    text.write_text("x")
    for path, words in (
        (corpus.parent / "tale", "Did you mean 'tales'?"),
        (text, "xunlian prepare"),
        (empty, "neither a corpus"),
        (run / "checkpoints", f"a part of '{run}'"),
        (corpus.parent, "holds tales, tales-1"),
    ):
        assert cli.main(["info", str(path)]) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1 and str(path) in error
    for options in (["--show", "1"], ["--verify"]):
        assert cli.main(["info", str(run), *options]) == 2
        assert "for a corpus folder" in capsys.readouterr().err
    assert cli.main(["info", str(corpus), "--show", "1", "--split", "vall"]) == 2
    assert "Did you mean 'val'?" in capsys.readouterr().err


def test_damaged_weights_are_named(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"no such thing")
    with pytest.raises(InputError, match=r"model\.safetensors.*damaged"):
        info(folder)


def test_pairs_come_back_with_a_tab_between(tmp_path, capsys):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"dog {i}\tHund {i}\n" for i in range(30)))
    corpus = tmp_path / "corpus"
    prepare(pairs, pairs=True, out=corpus, val=0, tokenizer="byte")
    assert info(corpus, show=1)["documents"] == [{"text": "dog 0\tHund 0", "tokens": 13}]
    assert info(corpus, show=3, split="val")["documents"] == []
    assert info(corpus, verify=True)["verified"]
    assert cli.main(["info", str(corpus), "--show", "2"]) == 0
    shown = capsys.readouterr().out
    assert "translation" in shown and "30 pairs" in shown and "(source 200, target 230)" in shown
    assert shown.endswith("dog 1\tHund 1\n")
