"""Small encoder-decoders made by hand: random weights that all matter, outputs of many lengths."""

from dataclasses import replace

import torch

from xunlian.models.encoder_decoder import EncoderDecoder
from xunlian.models.pair_config import EncoderDecoderConfig

START, END = 0, 1

CONFIGS = {
    name: EncoderDecoderConfig(
        architecture=name,
        vocab_size=67,
        depth=2,
        decoder_depth=2,
        width=48,
        heads=4,
        mlp_width=80,
        context=32,
    )
    for name in ("pegasus", "marian")
}
CONFIGS["marian as published"] = replace(
    CONFIGS["marian"], activation="swish", scaled=False, head_bias=True
)


def randomized(config, seed=7, ending=0.0):
    """An encoder-decoder whose every weight, norms and biases too, has a value that matters.

    `ending` makes the end token more probable.
    """
    model = EncoderDecoder(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        if model.head_bias is not None:
            model.head_bias.normal_(generator=generator)
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            gain = parameter.ndim == 1 and name.endswith("weight")
            parameter.copy_(1 + 0.3 * noise if gain else 0.25 * noise)
        last = model.decoder_norm if config.norms_first else model.decoder[-1].mlp_norm
        model.embedding.weight[END] += ending * last.bias / last.bias.norm()
    return model.eval()


def some_sources(lengths, vocab_size=67, seed=3):
    """Sources of these lengths, each with the end token last."""
    generator = torch.Generator().manual_seed(seed)
    return [
        [*torch.randint(2, vocab_size, (length - 1,), generator=generator).tolist(), END]
        for length in lengths
    ]


def open_in_transformers(model, folder):
    """The same weights in Transformers."""
    import transformers

    from xunlian.interop.huggingface import write_config, write_weights

    write_config(folder, model.config, END, START)
    write_weights(folder / "model.safetensors", model)
    return transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
