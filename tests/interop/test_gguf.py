"""GGUF files: what is in them, by the format's own library, and what llama.cpp makes of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_decoder import EXPORTED
from made_gguf import TEXTS, fields_of, gguf, make, trained_tokenizers
from safetensors.numpy import load_file

from xunlian.errors import InputError
from xunlian.interop.gguf_model import ARCHITECTURES, TYPES, read_gguf, write_gguf
from xunlian.tokenizer.tokenizer import load_tokenizer

# llama.cpp's name of a tensor, and Transformers' of the same.
QWEN3 = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
    "blk.1.attn_norm.weight": "model.layers.1.input_layernorm.weight",
    "blk.1.attn_q.weight": "model.layers.1.self_attn.q_proj.weight",
    "blk.1.attn_k.weight": "model.layers.1.self_attn.k_proj.weight",
    "blk.1.attn_v.weight": "model.layers.1.self_attn.v_proj.weight",
    "blk.1.attn_q_norm.weight": "model.layers.1.self_attn.q_norm.weight",
    "blk.1.attn_k_norm.weight": "model.layers.1.self_attn.k_norm.weight",
    "blk.1.attn_output.weight": "model.layers.1.self_attn.o_proj.weight",
    "blk.1.ffn_norm.weight": "model.layers.1.post_attention_layernorm.weight",
    "blk.1.ffn_gate.weight": "model.layers.1.mlp.gate_proj.weight",
    "blk.1.ffn_up.weight": "model.layers.1.mlp.up_proj.weight",
    "blk.1.ffn_down.weight": "model.layers.1.mlp.down_proj.weight",
}
# A Llama has no norms of queries and keys, whose rows stand in another order: see below.
LLAMA = {
    name: theirs for name, theirs in QWEN3.items() if "attn_q" not in name and "attn_k" not in name
}
GPT2 = {
    "token_embd.weight": "transformer.wte.weight",
    "position_embd.weight": "transformer.wpe.weight",
    "output_norm.weight": "transformer.ln_f.weight",
    "output_norm.bias": "transformer.ln_f.bias",
    "blk.0.attn_norm.bias": "transformer.h.0.ln_1.bias",
    "blk.0.attn_qkv.weight": "transformer.h.0.attn.c_attn.weight",
    "blk.0.attn_qkv.bias": "transformer.h.0.attn.c_attn.bias",
    "blk.0.attn_output.weight": "transformer.h.0.attn.c_proj.weight",
    "blk.0.ffn_norm.weight": "transformer.h.0.ln_2.weight",
    "blk.0.ffn_up.weight": "transformer.h.0.mlp.c_fc.weight",
    "blk.0.ffn_down.weight": "transformer.h.0.mlp.c_proj.weight",
}


@pytest.fixture
def tokenizers():
    return trained_tokenizers()


@pytest.mark.parametrize(
    "name, names",
    [("qwen3", QWEN3), ("llama", LLAMA), ("mistral grouped", LLAMA), ("gpt2", GPT2)],
)
def test_tensors_stand_under_the_names_of_llama_cpp(tmp_path, tokenizers, name, names):
    model = make(tmp_path, name, tokenizers["bpe"])
    write_gguf(tmp_path / "m.gguf", model, tokenizers["bpe"], tmp_path, "m", "f32")
    found = {t.name: np.array(t.data) for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    theirs = load_file(tmp_path / "model.safetensors")
    for ours, original in names.items():
        tensor = theirs[original]
        # GPT-2 keeps inputs first; GGUF has outputs first everywhere.
        turned = name == "gpt2" and tensor.ndim == 2 and ".h." in original
        assert np.array_equal(found[ours], tensor.T if turned else tensor), ours
    assert len(found) == len(theirs)


def test_the_fields_say_all_of_the_shape_and_the_special_tokens(tmp_path, tokenizers):
    tokenizer = tokenizers["bpe"]
    model = make(tmp_path, "qwen3 grouped", tokenizer, rope_theta=5000.0)
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].content }}\n")
    tokenizer = load_tokenizer(tmp_path)
    write_gguf(tmp_path / "m.gguf", model, tokenizer, tmp_path, "grouped", "q8_0")
    found = fields_of(tmp_path / "m.gguf")
    assert found["general.architecture"] == "qwen3" and found["general.name"] == "grouped"
    assert {k: v for k, v in found.items() if k.startswith("qwen3.")} == {
        "qwen3.vocab_size": 400,
        "qwen3.context_length": 24,
        "qwen3.embedding_length": 48,
        "qwen3.block_count": 2,
        "qwen3.feed_forward_length": 80,
        "qwen3.attention.head_count": 4,
        "qwen3.attention.head_count_kv": 2,
        "qwen3.attention.key_length": 16,
        "qwen3.attention.value_length": 16,
        "qwen3.attention.layer_norm_rms_epsilon": pytest.approx(1e-6),
        "qwen3.rope.dimension_count": 16,
        "qwen3.rope.freq_base": 5000.0,
    }
    assert found["tokenizer.ggml.model"] == "gpt2" and found["tokenizer.ggml.pre"] == "qwen2"
    tokens = found["tokenizer.ggml.tokens"]
    assert tokens == [tokenizer.backend.id_to_token(i) for i in range(400)]
    end = tokenizer.end_id
    assert found["tokenizer.ggml.eos_token_id"] == found["tokenizer.ggml.bos_token_id"] == end
    control = gguf.TokenType.CONTROL
    assert [i for i, kind in enumerate(found["tokenizer.ggml.token_type"]) if kind == control] == [
        end
    ]
    assert not found["tokenizer.ggml.add_bos_token"]
    assert found["tokenizer.chat_template"] == "{{ messages[0].content }}\n"


def turned(x_HTK, angles_TF):
    """As llama.cpp turns a Llama's heads: of each, numbers 2k and 2k + 1 by angle k. (H, T, K)"""
    even, odd = x_HTK[..., ::2], x_HTK[..., 1::2]
    sine, cosine = np.sin(angles_TF), np.cos(angles_TF)
    pairs = [even * cosine - odd * sine, even * sine + odd * cosine]
    return np.stack(pairs, axis=-1).reshape(x_HTK.shape)


@pytest.mark.parametrize("name", ["llama", "llama 3.1", "mistral grouped"])
def test_turned_as_by_llama_cpp_queries_meet_keys_as_in_transformers(tmp_path, tokenizers, name):
    transformers = pytest.importorskip("transformers")
    from transformers.models.llama.modeling_llama import rotate_half

    model = make(tmp_path, name, tokenizers["byte"])
    write_gguf(tmp_path / "m.gguf", model, tokenizers["byte"], tmp_path, "m", "f32")
    fields = fields_of(tmp_path / "m.gguf")
    tensors = {t.name: np.array(t.data) for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    x_TD = torch.randn(9, model.config.width, dtype=torch.float64)
    width, heads = model.config.head_width, model.config.heads

    def in_heads(rows):  # (T, H K) -> (H, T, K)
        return rows.reshape(9, -1, width).swapaxes(0, 1)

    angles_F = fields["llama.rope.freq_base"] ** (-np.arange(0, width, 2) / width)
    angles_F /= fields.get("llama.rope.scaling.factor", 1)
    angles_F /= tensors.get("rope_freqs.weight", 1)
    query, key = (
        turned(in_heads(x_TD.numpy() @ tensors[name].T), np.arange(9)[:, None] * angles_F)
        for name in ("blk.1.attn_q.weight", "blk.1.attn_k.weight")
    )
    found = query @ key.repeat(heads // len(key), 0).swapaxes(1, 2)

    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).double().model
    part = theirs.layers[1].self_attn
    with torch.no_grad():
        cosine, sine = theirs.rotary_emb(x_TD, torch.arange(9)[None])
        both = (in_heads(part.q_proj(x_TD)), in_heads(part.k_proj(x_TD)))
        query, key = (x_HTK * cosine + rotate_half(x_HTK) * sine for x_HTK in both)
        expected = query @ key.repeat_interleave(heads // len(key), 0).mT
    # Transformers computes the angles in fp32; scores are about 20.
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-3)


@pytest.mark.parametrize("name", EXPORTED)
@pytest.mark.parametrize("type_", TYPES)
def test_weights_come_back_as_near_as_their_type_keeps_them(tmp_path, tokenizers, name, type_):
    model = make(tmp_path, name, tokenizers["byte"], mlp_width=96, head_width=12)
    write_gguf(tmp_path / "m.gguf", model, tokenizers["byte"], tmp_path, "m", type_)
    back = read_gguf(tmp_path / "m.gguf")
    assert back.config.architecture == ARCHITECTURES[model.config.architecture]
    same = {"architecture": "", "norm_epsilon": 0, "rope_scaling": None}
    assert replace(back.config, **same) == replace(model.config, **same)
    if not model.config.is_gpt2:
        torch.testing.assert_close(back.cos, model.cos)
        torch.testing.assert_close(back.sin, model.sin)
    assert back.config.norm_epsilon == pytest.approx(model.config.norm_epsilon)
    rounded = 0
    for key, weight in model.state_dict().items():
        error = (back.state_dict()[key] - weight).abs()
        rounded += bool(error.any())
        if type_ == "f32" or weight.ndim == 1:
            assert not error.any()
        else:
            # Half a step: of fp16's 11 bits (fewer near 0), of the 127 of the largest of 32.
            halves = (weight.abs() * 2**-11).clamp(min=2**-25)
            eighths = weight.abs().amax() / 127 * 0.51
            assert (error <= (halves if type_ == "f16" else torch.maximum(halves, eighths))).all()
    assert (rounded > 0) == (type_ != "f32")


def test_rows_that_cannot_be_cut_into_blocks_are_kept_in_half_precision(tmp_path, tokenizers):
    model = make(tmp_path, "qwen3", tokenizers["byte"], width=48, mlp_width=64)
    write_gguf(tmp_path / "m.gguf", model, tokenizers["byte"], tmp_path, "m", "q8_0")
    kinds = {t.name: t.tensor_type.name for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    assert kinds["blk.0.ffn_down.weight"] == "Q8_0"  # 64 inputs
    assert kinds["blk.0.ffn_up.weight"] == "F16"  # 48
    assert kinds["blk.0.attn_norm.weight"] == "F32"


@pytest.mark.parametrize(
    "architecture, changes, said",
    [
        ("qwen3", {"rope_scaling": EXPORTED["llama 3.1"].rope_scaling}, "of the kind llama3"),
        ("qwen2 grouped", {}, "4 heads of width 16 in a width of 48"),
    ],
)
def test_what_llama_cpp_has_of_other_architectures_only_is_refused(
    tmp_path, tokenizers, architecture, changes, said
):
    model = make(tmp_path, architecture, tokenizers["byte"], **changes)
    with pytest.raises(InputError, match=f"{said}, which llama.cpp does not have. Export it to"):
        write_gguf(tmp_path / "m.gguf", model, tokenizers["byte"], tmp_path, "m", "f16")
    assert not (tmp_path / "m.gguf").exists()


@pytest.mark.parametrize("name", EXPORTED)
@pytest.mark.parametrize("kind", ["bpe", "byte", "char"])
def test_llama_cpp_reads_the_same_tokens_and_writes_the_same_text(tmp_path, tokenizers, name, kind):
    llama_cpp = pytest.importorskip("llama_cpp", reason="needs llama-cpp-python (a source build)")
    tokenizer = tokenizers[kind]
    heads = {"head_width": 12} if name.startswith("qwen2") else {}
    model = make(tmp_path, name, tokenizer, **heads)
    write_gguf(tmp_path / "m.gguf", model, tokenizer, tmp_path, "m", "f32")
    llama = llama_cpp.Llama(
        str(tmp_path / "m.gguf"), n_ctx=24, logits_all=True, verbose=False, n_threads=1,
        type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32, flash_attn=False,
    )  # fmt: skip
    for text in TEXTS:
        tokens = llama.tokenize(text.encode(), add_bos=True, special=False)
        assert tokens == tokenizer.encode(text), text
        assert llama.detokenize(tokens).decode() == text
    ids = tokenizer.encode(TEXTS[0])[:20]
    llama.eval(ids)
    with torch.no_grad():
        ours = model.logits(torch.tensor([ids]))[0]
    logits = torch.from_numpy(llama.scores[: len(ids)].copy())
    # llama.cpp looks GELU up in a table of fp16.
    torch.testing.assert_close(logits, ours, atol=1e-2 if name == "gpt2" else 1e-4, rtol=0)
    said = list(ids[:8])
    for token in llama.generate(ids[:8], temp=0.0, top_k=1):
        said.append(token)
        with torch.no_grad():
            assert token == model.logits(torch.tensor([said[:-1]]))[0, -1].argmax()
        if len(said) == 20 or token == tokenizer.end_id:
            break
