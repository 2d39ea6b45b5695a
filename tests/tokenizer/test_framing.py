"""What stands around the texts of pairs is what Transformers' tokenizers put there."""

import json

import pytest

from xunlian.errors import InputError
from xunlian.tokenizer.framing import for_pairs, model_frames, read_frames, start_of_targets
from xunlian.tokenizer.tokenizer import load_tokenizer

pytest.importorskip("transformers")
from made_languages import LANGUAGE_KINDS, bart_tokenizer, language_tokenizer

SOURCE, TARGET = "good day World", "guten Tag"
START = {"nllb": 2, "mbart-50": 2, "mbart-25": None, "bart": 2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of each kind with its tokenizer and as much of a config.json as frames need."""
    place = tmp_path_factory.mktemp("tokenizers")
    for name in (*LANGUAGE_KINDS, "bart"):
        made = bart_tokenizer() if name == "bart" else language_tokenizer(name)
        made.save_pretrained(place / name)
        kind = LANGUAGE_KINDS[name][0] if name in LANGUAGE_KINDS else "bart"
        fields = {"model_type": kind, "decoder_start_token_id": START[name]}
        (place / name / "config.json").write_text(json.dumps(fields))
    return place


def framed(tokenizer, text, side):
    return read_frames(tokenizer)[side].around(tokenizer.encode(text))


@pytest.mark.parametrize("name", LANGUAGE_KINDS)
def test_sources_and_targets_are_those_that_models_were_trained_on(name, folders, tmp_path):
    languages = LANGUAGE_KINDS[name][2]
    theirs = language_tokenizer(name, *languages)
    expected = theirs(SOURCE, text_target=TARGET)
    tokenizer = for_pairs(load_tokenizer(folders / name), folders / name, languages)
    assert framed(tokenizer, SOURCE, 0) == expected["input_ids"]
    assert framed(tokenizer, TARGET, 1) == expected["labels"]
    start = start_of_targets(tokenizer, folders / name)
    assert start == (expected["labels"][-1] if name == "mbart-25" else theirs.eos_token_id)
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert read_frames(again) == read_frames(tokenizer)
    assert again.fingerprint == tokenizer.fingerprint


def test_bart_has_the_same_around_both(folders):
    tokenizer = for_pairs(load_tokenizer(folders / "bart"), folders / "bart", ("en", "en"))
    expected = bart_tokenizer()(SOURCE)["input_ids"]
    assert framed(tokenizer, SOURCE, 0) == framed(tokenizer, SOURCE, 1) == expected
    assert start_of_targets(tokenizer, folders / "bart") == 2


def test_older_files_of_nllb_have_the_language_in_a_place_that_was_not_trained(folders, tmp_path):
    import transformers

    made = language_tokenizer("nllb")
    old = transformers.NllbTokenizer(
        vocab=made._vocab, merges=made._merges, src_lang="deu_Latn", legacy_behaviour=True
    )
    old.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text((folders / "nllb" / "config.json").read_text())
    tokenizer = load_tokenizer(tmp_path)
    assert len(read_frames(tokenizer)[0].after) == 2
    frames = model_frames(tokenizer, tmp_path, ("deu_Latn", "eng_Latn"), "")
    assert frames.source.around([9]) == [made.convert_tokens_to_ids("deu_Latn"), 9, 2]


def test_a_bare_code_is_enough_where_only_one_region_has_it(folders):
    tokenizer = load_tokenizer(folders / "mbart-50")
    given = [
        model_frames(tokenizer, folders / "mbart-50", codes, "")
        for codes in (("en", "zh"), ("en_XX", "zh_CN"))
    ]
    assert given[0] == given[1]


def test_the_double_underscores_of_m2m100_are_not_asked_for(folders, tmp_path):
    made = language_tokenizer("nllb")
    made.add_special_tokens({"extra_special_tokens": ["__en__", "__ast__"]})
    made.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text((folders / "nllb" / "config.json").read_text())
    frames = model_frames(load_tokenizer(tmp_path), tmp_path, ("ast", "en"), "")
    ids = made.convert_tokens_to_ids(["__ast__", "__en__"])
    assert [frames.source.before, frames.target.before] == [(ids[0],), (ids[1],)]
    assert frames.forced == (ids[1],)


@pytest.mark.parametrize(
    ("languages", "message"),
    [
        (("eng_Latn", None), "tells languages apart.*Say them with HOW; it has ace_Arab, .*zul_"),
        (("eng_Latn", "deutsch"), "has no language 'deutsch'.* It has ace_Arab, "),
        (("eng_Latin", "deu_Latn"), "Did you mean 'eng_Latn'"),
        (("zho", "eng_Latn"), "has more than one 'zho'. Say zho_Han[st] or zho_Han[st]"),
    ],
)
def test_a_language_that_is_missing_or_unknown_is_refused(languages, message, folders):
    with pytest.raises(InputError, match=message) as raised:
        model_frames(load_tokenizer(folders / "nllb"), folders / "nllb", languages, "HOW")
    assert "\n" not in str(raised.value)


def test_a_run_that_knows_its_languages_takes_others_one_by_one(folders, tmp_path):
    folder = folders / "nllb"
    tokenizer = for_pairs(load_tokenizer(folder), folder, ("eng_Latn", "deu_Latn"))
    tokenizer.save(tmp_path)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    known = model_frames(load_tokenizer(tmp_path), tmp_path, (None, None), "")
    assert (known.source, known.target) == read_frames(tokenizer)
    other = model_frames(load_tokenizer(tmp_path), tmp_path, (None, "fra_Latn"), "")
    assert other.source == known.source and other.target != known.target
