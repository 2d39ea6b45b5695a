"""Tokenizers in GGUF files: their kinds, patterns and special tokens, as llama.cpp knows them."""

import json
from dataclasses import replace

import pytest
import tokenizers as hf_tokenizers
from conftest import SAMPLES
from made_decoder import EXPORTED, randomized
from made_gguf import TEXTS, fields_of, gguf, make, trained_tokenizers

from xunlian.errors import InputError
from xunlian.interop.gguf_model import write_gguf
from xunlian.interop.gguf_tokenizer import tokenizer_fields
from xunlian.tokenizer.chat import make_chat
from xunlian.tokenizer.tokenizer import load_tokenizer, wrap


@pytest.fixture
def tokenizers():
    return trained_tokenizers()


@pytest.mark.parametrize(("rows", "padding"), [(257, None), (258, 257)])
def test_a_padding_token_that_the_model_has_no_row_for_is_left_out(
    tmp_path, tokenizers, rows, padding
):
    backend = hf_tokenizers.Tokenizer.from_str(tokenizers["byte"].backend.to_str())
    backend.add_special_tokens(["<pad>"])
    tokenizer = wrap(backend, tokenizers["byte"].end_token, "<pad>")
    model = randomized(replace(EXPORTED["llama"], vocab_size=rows))
    write_gguf(tmp_path / "m.gguf", model, tokenizer, tmp_path, "m", "f16")
    found = fields_of(tmp_path / "m.gguf")
    assert found.get("tokenizer.ggml.padding_token_id") == padding
    kinds = found["tokenizer.ggml.token_type"]
    control = [i for i, kind in enumerate(kinds) if kind == gguf.TokenType.CONTROL]
    assert len(kinds) == len(found["tokenizer.ggml.tokens"]) == rows
    assert control == [i for i in (tokenizer.end_id, padding) if i is not None]


def test_rows_without_a_token_have_names_of_their_own_and_are_marked_unused(tokenizers, tmp_path):
    tokenizer = tokenizers["byte"]
    found = tokenizer_fields(tokenizer, tmp_path, 300)
    assert found.tokens[:257] == tokenizer.tokens(257) and len(set(found.tokens)) == 300
    assert found.kinds[257:] == [gguf.TokenType.UNUSED] * 43
    assert gguf.TokenType.UNUSED not in found.kinds[:257]


@pytest.mark.parametrize(
    "pattern, name",
    [
        (None, "gpt-2"),
        ("digits", "smollm"),
        (r"\p{N}", "qwen2"),
        (r"\p{N}{1,3}", "llama-bpe"),
    ],
)
def test_split_patterns_of_open_models_have_the_names_of_llama_cpp(
    tokenizers, tmp_path, pattern, name
):
    content = json.loads(tokenizers["bpe"].backend.to_str())
    split, to_bytes = content["pre_tokenizer"]["pretokenizers"]
    if pattern is None:  # the library's own, which is GPT-2's
        content["pre_tokenizer"] = to_bytes | {"use_regex": True}
    elif pattern == "digits":
        digits = {"type": "Digits", "individual_digits": True}
        content["pre_tokenizer"]["pretokenizers"] = [digits, to_bytes | {"use_regex": True}]
    else:
        words = split["pattern"]["Regex"]
        split["pattern"]["Regex"] = words.replace(r"|\p{N}|", f"|{pattern}|")
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer_fields(tokenizer, tmp_path, 400).pre == name
    reads_as_llama_cpp(tmp_path, tokenizer)


def reads_as_llama_cpp(folder, tokenizer):
    """llama.cpp, where it is installed, makes of our texts the same tokens, start and all."""
    llama_cpp = pytest.importorskip("llama_cpp", reason="needs llama-cpp-python (a source build)")
    file = folder / "vocabulary.gguf"
    config = replace(EXPORTED["llama"], depth=1, vocab_size=tokenizer.vocab_size)
    write_gguf(file, randomized(config), tokenizer, folder, "m", "f16")
    llama = llama_cpp.Llama(str(file), n_ctx=24, verbose=False, vocab_only=True)
    for text in TEXTS:
        tokens = llama.tokenize(text.encode(), add_bos=True, special=False)
        assert tokens == [*tokenizer.start_ids, *tokenizer.encode(text)], text


def sentencepiece(before, split):
    """A BPE in the forms in which Transformers keeps SentencePiece's: of Llama 2 and Mistral."""
    backend = hf_tokenizers.Tokenizer(hf_tokenizers.models.BPE())
    backend.normalizer = hf_tokenizers.normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = hf_tokenizers.pre_tokenizers.Metaspace()
    text = (SAMPLES / "shakespeare.txt").read_text("utf-8")[:40_000]
    trainer = hf_tokenizers.trainers.BpeTrainer(vocab_size=400, show_progress=False)
    backend.train_from_iterator([text], trainer)
    model = json.loads(backend.to_str())["model"]
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    names += sorted(model["vocab"], key=model["vocab"].get)
    made = hf_tokenizers.models.BPE(
        {name: i for i, name in enumerate(names)},
        [tuple(pair) for pair in model["merges"]],
        byte_fallback=True, fuse_unk=True, unk_token="<unk>",
    )  # fmt: skip
    backend = hf_tokenizers.Tokenizer(made)
    spaces = [hf_tokenizers.normalizers.Replace(" ", "▁")]
    if before:
        spaces.insert(0, hf_tokenizers.normalizers.Prepend("▁"))
    if split:
        scheme = "first" if before else "never"
        backend.pre_tokenizer = hf_tokenizers.pre_tokenizers.Metaspace("▁", scheme, split=False)
    else:
        backend.normalizer = hf_tokenizers.normalizers.Sequence(spaces)
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    backend.post_processor = hf_tokenizers.processors.TemplateProcessing(
        single=["<s>", "$A"], pair=["<s>", "$A", "$B"], special_tokens=[("<s>", 1)]
    )
    return backend


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("split", [True, False])
def test_the_tokenizers_of_llama_2_and_mistral_are_llama_cpps_own(tmp_path, before, split):
    sentencepiece(before, split).save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(tmp_path)
    found = tokenizer_fields(tokenizer, tmp_path, tokenizer.vocab_size)
    assert (found.model, found.space_first, found.merges) == ("llama", before, None)
    assert (found.start_id, found.add_start, found.add_end) == (1, True, False)
    assert found.kinds[3:259] == [gguf.TokenType.BYTE] * 256
    merges = json.loads(tokenizer.backend.to_str())["model"]["merges"]
    scores = dict(zip(found.tokens, found.scores, strict=True))
    ranked = [scores["".join(pair)] for pair in merges]
    assert ranked == sorted(ranked, reverse=True) and ranked[0] == 0 > scores["<s>"]
    reads_as_llama_cpp(tmp_path, tokenizer)


def test_a_bpe_whose_merges_no_scores_can_order_is_refused(tmp_path):
    content = json.loads(sentencepiece(True, False).to_str())
    vocab, merges = content["model"]["vocab"], content["model"]["merges"]
    other = next(
        [joined[:cut], joined[cut:]]
        for first, second in merges
        for joined in [first + second]
        for cut in range(1, len(joined))
        if cut != len(first) and joined[:cut] in vocab and joined[cut:] in vocab
    )
    merges.append(other)
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="joins a token in several ways"):
        tokenizer_fields(load_tokenizer(tmp_path), tmp_path, 700)


def test_a_start_token_that_the_tokenizer_adds_is_added_by_llama_cpp_too(tokenizers, tmp_path):
    content = json.loads(tokenizers["byte"].backend.to_str())
    backend = hf_tokenizers.Tokenizer.from_str(json.dumps(content))
    backend.add_special_tokens(["<s>"])
    backend.post_processor = hf_tokenizers.processors.TemplateProcessing(
        single=["<s>", "$A"], pair=["<s>", "$A", "$B"], special_tokens=[("<s>", 257)]
    )
    backend.save(str(tmp_path / "tokenizer.json"))
    marked = tokenizer_fields(load_tokenizer(tmp_path), tmp_path, 258)
    assert (marked.add_start, marked.start_id, marked.add_end) == (True, 257, False)
    plain = tokenizer_fields(tokenizers["byte"], tmp_path, 258)
    assert (plain.add_start, plain.start_id) == (False, tokenizers["byte"].end_id)


@pytest.mark.parametrize("end", ["<|endoftext|>", "<|im_end|>"])
def test_a_token_that_ends_answers_only_is_named(tmp_path, tokenizers, end):
    made, _ = make_chat(tokenizers["byte"], "chatml")
    tokenizer = wrap(made.tokenizer.backend, end, chat_template=made.template.source)
    model = make(tmp_path, "llama", tokenizer)
    write_gguf(tmp_path / "m.gguf", model, tokenizer, tmp_path, "m", "f16")
    found = fields_of(tmp_path / "m.gguf")
    assert found["tokenizer.chat_template"] == made.template.source
    turn_end = tokenizer.backend.token_to_id("<|im_end|>")
    named = None if end == "<|im_end|>" else turn_end
    assert found.get("tokenizer.ggml.eot_token_id") == named
    assert found["tokenizer.ggml.eos_token_id"] == tokenizer.end_id


@pytest.mark.parametrize("kind", ["unigram", "wordpiece"])
def test_tokenizers_that_llama_cpp_lacks_are_refused(tmp_path, tokenizers, kind):
    model = make(tmp_path, "qwen3", tokenizers[kind])
    with pytest.raises(InputError, match=f"no tokenizer like that .*{kind}.*--tokenizer bpe"):
        write_gguf(tmp_path / "m.gguf", model, tokenizers[kind], tmp_path, "m", "f16")


def test_a_split_pattern_that_llama_cpp_lacks_is_refused(tmp_path, tokenizers):
    model = make(tmp_path, "qwen3", tokenizers["bpe"])
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    content["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\w+|\W"
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="split pattern of its own"):
        write_gguf(tmp_path / "m.gguf", model, load_tokenizer(tmp_path), tmp_path, "m", "f16")
