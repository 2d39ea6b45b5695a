"""Small decoders made by hand: with random weights that all matter, and one that recites a text."""

from dataclasses import replace

import torch

from xunlian.interop.huggingface import build
from xunlian.models.decoder import Decoder, DecoderConfig
from xunlian.models.layers import RopeScaling

_QWEN3 = DecoderConfig(
    architecture="qwen3",
    vocab_size=61,
    depth=2,
    width=48,
    heads=4,
    kv_heads=4,
    head_width=16,
    mlp_width=80,
    context=24,
    tied=False,
)
CONFIGS = {
    "qwen3": _QWEN3,
    "qwen3 grouped": replace(_QWEN3, kv_heads=2, tied=True),
    "qwen2 grouped": replace(_QWEN3, architecture="qwen2", kv_heads=2),
    "llama": replace(_QWEN3, architecture="llama", rope_scaling=RopeScaling("linear", 2.0)),
    "mistral grouped": replace(_QWEN3, architecture="mistral", kv_heads=1),
    "gpt2": replace(_QWEN3, architecture="gpt2", head_width=12, norm_epsilon=1e-5, tied=True),
    "speedrun": replace(_QWEN3, architecture="speedrun", depth=3, kv_heads=2),
}
PORTABLE = [name for name in CONFIGS if name != "speedrun"]
EXPORTED = {name: CONFIGS[name] for name in PORTABLE} | {
    "llama 3.1": replace(
        CONFIGS["llama"], kv_heads=2, rope_scaling=RopeScaling("llama3", 8.0, original_context=16)
    )
}


def randomized(config, seed=7):
    """A decoder whose every weight, norms and biases too, has a value that matters."""
    model = build(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            gain = parameter.ndim == 1 and name.endswith("weight")
            parameter.copy_(1 + 0.3 * noise if gain else 0.3 * noise)
    return model.eval()


def reciting(ids, vocab_size, context=64):
    """A decoder that after one token of prompt, whatever it is, most probably says `ids`.

    Its blocks add nothing and its embedding is empty: it sees only the position.
    """
    model = Decoder(
        DecoderConfig(
            architecture="gpt2",
            vocab_size=vocab_size,
            depth=1,
            width=context,
            heads=1,
            kv_heads=1,
            head_width=context,
            mlp_width=8,
            context=context,
            tied=False,
        )
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if name.endswith("norm.weight") else 0.0)
        model.positions.weight.copy_(torch.eye(context))
        for position, token in enumerate(ids):
            model.head.weight[token, position] = 1.0
    return model.eval()
