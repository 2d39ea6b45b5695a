"""Small Hugging Face folders as other people make them: random weights, a tokenizer, a template."""

import tokenizers
import torch
from conftest import SAMPLES
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
START, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"
KINDS = {
    "llama": ("Llama", {}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
    "mistral": ("Mistral", {"sliding_window": 48}),
    "gpt2": ("GPT2", {}),
}
PAIR_KINDS = {"pegasus": "PegasusForConditionalGeneration", "marian": "MarianMTModel"}
FRAMED_KINDS = {
    "m2m_100": "M2M100ForConditionalGeneration",
    "bart": "BartForConditionalGeneration",
    "mbart": "MBartForConditionalGeneration",
}
"""Those with more around their texts than an end token; targets start from that."""


def save_tokenizer(folder, start=False, size=400):
    """A byte-level BPE of `size` tokens that knows a template; with `start` texts begin with it."""
    from transformers import PreTrainedTokenizerFast

    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[PAD, END, START],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(
        [(SAMPLES / "shakespeare.txt").read_text("utf-8")[:50_000]], trainer
    )
    names = {"eos_token": END, "pad_token": PAD}
    if start:
        names["bos_token"] = START
        number = backend.token_to_id(START)
        backend.post_processor = processors.TemplateProcessing(
            single=f"{START} $A", special_tokens=[(START, number)]
        )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **names)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return tokenizer


def save_folder(folder, kind, *, vocab_size=448, start=False, **fields):
    """The folder of a decoder of `kind`, with rows for more tokens than its tokenizer has."""
    import transformers

    name, own = KINDS[kind]
    shape = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 96,
        "max_position_embeddings": 64,
    }
    if kind == "gpt2":
        shape = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64}
    ends = {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
    config = {"vocab_size": vocab_size, **shape, **ends, **own, **fields}
    torch.manual_seed(1)
    model = getattr(transformers, f"{name}Config")(**config)
    model = getattr(transformers, "GPT2LMHeadModel" if kind == "gpt2" else f"{name}ForCausalLM")(
        model
    )
    return _saved(model, folder, start)


def save_pair_folder(folder, kind, *, vocab_size=448, bias=False, **fields):
    """The folder of an encoder-decoder of `kind`, with a `bias` of its logits where wanted."""
    import transformers

    shape = {
        "vocab_size": vocab_size,
        "decoder_vocab_size": vocab_size,
        "d_model": 64,
        "encoder_layers": 2,
        "decoder_layers": 1,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 96,
        "decoder_ffn_dim": 96,
        "max_position_embeddings": 64,
        "activation_function": "relu",
        "scale_embedding": True,
    }
    start = 1 if kind in FRAMED_KINDS else 0
    ends = {"eos_token_id": 1, "pad_token_id": 0, "decoder_start_token_id": start}
    # Larger than the default, so that more than the bias of the logits matters.
    config = transformers.AutoConfig.for_model(
        kind, **shape | ends | {"init_std": 0.2, "forced_eos_token_id": None} | fields
    )
    torch.manual_seed(1)
    model = getattr(transformers, (PAIR_KINDS | FRAMED_KINDS)[kind])(config)
    if bias:
        model.final_logits_bias.normal_()
    return _saved(model, folder, start=False)


def _saved(model, folder, start):
    for parameter in model.parameters():  # zero biases and unit gains would hide errors
        if parameter.ndim == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.eval().save_pretrained(folder)
    save_tokenizer(folder, start)
    return model
