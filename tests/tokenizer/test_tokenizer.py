import json
from pathlib import Path

import pytest
import tokenizers
from tokenizers import processors

from xunlian.errors import InputError
from xunlian.recipe.samples import samples_folder
from xunlian.tokenizer.fingerprint import file_fingerprint, fingerprint
from xunlian.tokenizer.patterns import END
from xunlian.tokenizer.tokenizer import extends, load_tokenizer, wrap
from xunlian.tokenizer.train import KINDS, train_tokenizer

TEXT = (samples_folder() / "shakespeare.txt").read_text("utf-8")[:60_000] + (
    samples_folder() / "songci.txt"
).read_text("utf-8")[:20_000]
TRIED = ["Hello, world!  don't\n\n  go ", "明月几时有，把酒问青天。\n", TEXT[:3000], " a", "é🙂"]


@pytest.mark.parametrize("model_type", [None, "qwen3", "gpt2", "llama", "qwen2", "mistral"])
@pytest.mark.parametrize("kind", KINDS)
def test_transformers_opens_a_saved_tokenizer_and_agrees(
    kind: str, model_type: str | None, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    if model_type == "qwen2" and kind not in ("bpe", "byte"):
        pytest.skip("Transformers has one tokenizer class for it, of byte-level BPE")
    ours = train_tokenizer(iter([TEXT]), kind, 900 if kind != "byte" else 257, shrink=True)
    ours.save(tmp_path)
    if model_type:  # as in RUN/model, where Transformers could prefer that model's own class
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.eos_token_id == ours.end_id
    assert len(theirs) == ours.vocab_size
    for text in TRIED:
        ids = ours.encode(text)
        assert theirs.encode(text, add_special_tokens=False) == ids
        assert theirs(text)["input_ids"] == ids
        assert theirs.decode(ids, skip_special_tokens=True) == ours.decode(ids)
        assert theirs.decode([*ids, ours.end_id], skip_special_tokens=True) == ours.decode(ids)


def test_the_fingerprint_ignores_formatting_but_not_tokens(tmp_path: Path) -> None:
    train_tokenizer(iter([TEXT]), "bpe", 400).save(tmp_path)
    file = tmp_path / "tokenizer.json"
    before = file_fingerprint(file)
    content = json.loads(file.read_text("utf-8"))
    content["truncation"] = {
        "direction": "Right",
        "max_length": 5,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    file.write_text(json.dumps(content))
    assert file_fingerprint(file) == before == load_tokenizer(file).fingerprint
    content["model"]["merges"].pop()
    assert fingerprint(json.dumps(content)) != before


def test_truncation_in_a_given_file_does_not_cut_documents(tmp_path: Path) -> None:
    made = train_tokenizer(iter([TEXT]), "bpe", 400)
    made.backend.enable_truncation(5)
    made.backend.save(str(tmp_path / "tokenizer.json"))
    assert len(load_tokenizer(tmp_path).encode(TEXT[:500])) > 100


def test_the_end_token_of_a_given_tokenizer_is_found_in_its_configuration(tmp_path: Path) -> None:
    made = train_tokenizer(iter([TEXT]), "bpe", 400)
    made.save(tmp_path)
    content = (tmp_path / "tokenizer.json").read_text("utf-8").replace("<|endoftext|>", "<STOP>")
    (tmp_path / "tokenizer.json").write_text(content)
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": {"content": "<STOP>"}}')
    assert load_tokenizer(tmp_path).end_id == made.end_id
    (tmp_path / "tokenizer_config.json").unlink()
    with pytest.raises(InputError, match="ends a document"):
        load_tokenizer(tmp_path)


def test_a_missing_or_damaged_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No tokenizer"):
        load_tokenizer(tmp_path / "no.json")
    (tmp_path / "tokenizer.json").write_text('{"model": 3')
    with pytest.raises(InputError, match=r"tokenizer\.json' is damaged"):
        load_tokenizer(tmp_path)
    with pytest.raises(InputError, match=r"tokenizer\.json' is damaged"):
        file_fingerprint(tmp_path / "tokenizer.json")


def with_tokens(tokenizer, tokens):
    backend = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
    backend.add_special_tokens(tokens)
    return wrap(backend, tokenizer.end_token)


def test_a_tokenizer_with_tokens_added_extends_the_one_before_and_not_the_other_way_round():
    before = train_tokenizer(iter(["one two three"] * 9), "bpe", 262)
    after = with_tokens(before, ["<|user|>", "<|assistant|>"])
    assert extends(after, before) and extends(before, before)
    assert not extends(before, after)
    other = train_tokenizer(iter(["six seven eight"] * 9), "bpe", 262)
    assert other.vocab_size == before.vocab_size
    assert not extends(other, before) and not extends(with_tokens(other, ["<|user|>"]), before)


def test_what_a_file_puts_before_a_text_begins_prompts_only():
    plain = train_tokenizer(iter(["one two three"] * 9), "bpe", 262)
    assert plain.start_ids == [] and plain.before_id == plain.end_id
    assert plain.encode_prompt("") == [plain.end_id]
    assert plain.encode_prompt("one") == plain.encode("one")
    backend = tokenizers.Tokenizer.from_str(with_tokens(plain, ["<s>"]).backend.to_str())
    start = backend.token_to_id("<s>")
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A <|endoftext|>", special_tokens=[("<s>", start), (END, plain.end_id)]
    )
    begun = wrap(backend, END)
    assert begun.start_ids == [start] and begun.before_id == start
    assert begun.encode_prompt("") == [start]
    assert begun.encode_prompt("one") == [start, *plain.encode("one")]
    assert begun.encode("one") == plain.encode("one")


@pytest.mark.parametrize("file", ["tokenizer.model", "vocab.json", "vocab.txt"])
def test_a_tokenizer_in_an_older_form_is_told_with_the_mend(file, tmp_path):
    (tmp_path / file).write_text("")
    with pytest.raises(InputError, match=r"older form.*save_pretrained"):
        load_tokenizer(tmp_path)
