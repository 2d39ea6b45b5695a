"""From a resolved recipe to its network, with the weights that its seed gives."""

import torch

from xunlian.interop.config import Config
from xunlian.interop.huggingface import Model, build
from xunlian.models import decoder, encoder_decoder, recurrent, recurrent_pairs, speedrun
from xunlian.models.copying import set_up_copying
from xunlian.models.decoder import DecoderConfig
from xunlian.models.encoder_decoder import EncoderDecoder
from xunlian.models.pair_config import EncoderDecoderConfig
from xunlian.models.recurrent import RecurrentConfig, RecurrentModel
from xunlian.models.recurrent_pairs import RecurrentPairModel
from xunlian.models.speedrun import Speedrun
from xunlian.recipe.recurrent_size import RecurrentShape
from xunlian.recipe.resolve import shape_of
from xunlian.recipe.settings import Recipe
from xunlian.recipe.size import decoder_fields
from xunlian.runs.initial import Initial
from xunlian.training.growth import places


def first_model(recipe: Recipe, initial: Initial | None, vocab_size: int) -> Model:
    """What a training begins with: the weights that it starts from, or random ones.

    Raises:
        InputError: as `Initial.load`.
    """
    if initial:
        return initial.load(recipe.model.dropout or 0.0, recipe.training.seed)
    return build_model(recipe, vocab_size)


def build_model(recipe: Recipe, vocab_size: int) -> Model:
    """The network of a resolved recipe, with the weights that its seed gives."""
    model = build(_config(recipe, vocab_size), recipe.model.dropout or 0.0)
    generator = torch.Generator().manual_seed(recipe.training.seed)
    if isinstance(model, EncoderDecoder):
        encoder_decoder.initialize(model, generator)
    elif isinstance(model, RecurrentPairModel):
        recurrent_pairs.initialize(model, generator)
    elif isinstance(model, RecurrentModel):
        recurrent.initialize(model, generator)
    elif isinstance(model, Speedrun):
        speedrun.initialize(model, generator)
    else:
        decoder.initialize(model, generator)
        if recipe.training.copying_start:
            first_blocks = recipe.training.grow_from or model.config.depth
            set_up_copying(model, generator, places(first_blocks, model.config.depth)[1])
    return model


def _config(recipe: Recipe, vocab_size: int) -> Config:
    shape, model = shape_of(recipe.model), recipe.model
    if isinstance(shape, RecurrentShape):
        assert model.family != "transformer"
        return RecurrentConfig(
            family=model.family, vocab_size=vocab_size, context=model.context, **vars(shape)
        )
    if model.architecture in ("pegasus", "marian"):
        assert shape.decoder_depth is not None
        return EncoderDecoderConfig(
            architecture=model.architecture,
            vocab_size=vocab_size,
            depth=shape.depth,
            decoder_depth=shape.decoder_depth,
            width=shape.width,
            heads=shape.heads,
            mlp_width=shape.mlp_width,
            context=model.context,
        )
    assert model.architecture in ("qwen3", "qwen2", "llama", "mistral", "gpt2", "speedrun")
    return DecoderConfig(
        architecture=model.architecture,
        vocab_size=vocab_size,
        context=model.context,
        rope_theta=model.rope_theta,
        norm_epsilon=1e-5 if model.architecture == "gpt2" else 1e-6,
        **decoder_fields(shape),
    )
