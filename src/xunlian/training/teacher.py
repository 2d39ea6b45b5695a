"""The frozen bigger model of [distill]: checked, loaded, and what it costs.

It reads every batch as the student does, without dropout and without gradients, in the precision of
the training; its weights are kept in that type alone. Only its hidden states leave it
(models/distillation.py).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from xunlian.errors import InputError
from xunlian.interop.huggingface import read_config
from xunlian.models.decoder import Decoder, DecoderConfig
from xunlian.models.encoder_decoder import EncoderDecoder
from xunlian.models.pair_config import EncoderDecoderConfig
from xunlian.recipe.resolve import shape_of
from xunlian.recipe.settings import PAIR_TASKS, Recipe
from xunlian.recipe.settings import Model as ModelSettings
from xunlian.recipe.size import Shape, count_parameters, training_flops_per_token
from xunlian.runs.adapted import fingerprint
from xunlian.runs.initial import with_shape
from xunlian.runs.load import load_folder, load_weights
from xunlian.shards.corpus import Corpus
from xunlian.tokenizer.sides import load_sides
from xunlian.tokenizer.tokenizer import extends

# Bytes that a chunk's logits take beside the student's: the teacher's own, their logarithms and
# probabilities, the student's at the temperature, and slopes, in fp32.
CHUNK_BYTES = 28


@dataclass(frozen=True)
class Teacher:
    """A model that teaches.

    Attributes:
        head_KE: its output head, of the tokens that both know, in the compute type.
        fingerprint: a checksum of its weights.
        temperature, hard_weight: as in [distill].
    """

    model: Decoder | EncoderDecoder
    head_KE: Tensor
    fingerprint: str
    temperature: float
    hard_weight: float

    @property
    def live_bytes(self) -> int:
        """Of its weights."""
        return sum(p.numel() * p.element_size() for p in self.model.parameters())


def check_teacher(recipe: Recipe, corpus: Corpus) -> str:
    """What there is to say of the teacher of a recipe whose shape is known.

    Raises:
        InputError: there is no such model, or it cannot teach this one on this corpus.
    """
    assert recipe.distill
    source, context = recipe.distill.teacher, recipe.model.context
    folder = load_folder(source)
    config = read_config(folder)
    if recipe.model.family != "transformer":
        raise InputError(
            f"[distill] teaches Transformers, and model.family is {recipe.model.family}. Leave "
            "[distill] out, or train on texts that the teacher wrote (docs/distill.md)."
        )
    wanted = EncoderDecoderConfig if recipe.task in PAIR_TASKS else DecoderConfig
    if not isinstance(config, wanted):
        raise InputError(
            f"The teacher '{source}' cannot teach task={recipe.task}: it is no Transformer that "
            + (
                "turns a source into a target."
                if recipe.task in PAIR_TASKS
                else "goes on with text."
            )
        )
    theirs, ours = load_sides(folder), load_sides(corpus.path)
    for one, other in zip(theirs, ours, strict=True):
        if not (extends(one, other) and extends(other, one)):
            raise InputError(
                f"The teacher '{source}' has another tokenizer than the corpus '{corpus.path}', so "
                "their probabilities are of different tokens. Prepare the corpus with --tokenizer "
                f"{folder}."
            )
    if config.context < context:
        raise InputError(
            f"The teacher '{source}' reads at most {config.context} tokens, the student "
            f"{context}. Set model.context={config.context} or less."
        )
    parameters = count_parameters(*_network(recipe), config.vocab_size)
    return (
        f"Learns from '{source}', {parameters:,} parameters: temperature "
        f"{recipe.distill.temperature:g}, weight of the text itself {recipe.distill.hard_weight:g}."
    )


def load_teacher(recipe: Recipe, device: torch.device, dtype: torch.dtype) -> Teacher | None:
    """The teacher of a resolved recipe, frozen, on `device`, its matrices in `dtype`.

    Raises:
        InputError: it is not there any more, or damaged.
    """
    if not recipe.distill:
        return None
    folder = load_folder(recipe.distill.teacher)
    model = load_weights(folder)
    assert isinstance(model, Decoder | EncoderDecoder)
    known = fingerprint(model)
    for parameter in model.requires_grad_(False).parameters():
        if parameter.ndim == 2:
            parameter.data = parameter.data.to(dtype)
    model.attention_form = recipe.training.attention
    model.to(device).eval()
    return Teacher(
        model,
        model.head_weight[: load_sides(folder).vocab_size].to(dtype),
        known,
        recipe.distill.temperature,
        recipe.distill.hard_weight,
    )


def teacher_flops(recipe: Recipe, vocab_size: int) -> float:
    """Operations of the teacher for one token: its forward pass, a third of a training's."""
    if not recipe.distill:
        return 0.0
    sides = 2 if recipe.task in PAIR_TASKS else 1
    return training_flops_per_token(*_network(recipe), vocab_size) / 3 / sides


def teacher_memory(
    recipe: Recipe, vocab_size: int, *, micro_tokens: int, precision: str, chunk_logits: int
) -> dict[str, int]:
    """Predicted bytes of the teacher by part; empty where there is none."""
    if not recipe.distill:
        return {}
    model, shape = _network(recipe)
    real = 4 if precision == "fp32" else 2
    inner = shape.heads * shape.head_width
    # One block at a time: the stream, joined queries, keys and values, and the hidden values, some
    # steps of them in fp32.
    passing = micro_tokens * 4 * (4 * shape.width + 6 * inner + 3 * shape.mlp_width)
    chunk = min(chunk_logits, micro_tokens * vocab_size) * CHUNK_BYTES
    left = micro_tokens * shape.width * real
    return {
        "teacher": count_parameters(model, shape, vocab_size) * real,
        "teacher's passing values": left + max(passing, chunk),
    }


def _network(recipe: Recipe) -> tuple[ModelSettings, Shape]:
    """The teacher as a table [model], and its shape."""
    assert recipe.distill
    given = ModelSettings(init_from=recipe.distill.teacher, context=recipe.model.context)
    config = read_config(load_folder(recipe.distill.teacher))
    model = with_shape(given, config, recipe.task)
    shape = shape_of(model)
    assert isinstance(shape, Shape)
    return model, shape
