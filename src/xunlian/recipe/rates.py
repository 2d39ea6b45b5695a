"""Peak learning rates by kind of parameter, and how Muon cuts its matrices.

Starting points that were measured on small models; docs/speed.md has what else was tried.
"""

import math

from xunlian.recipe.recurrent_size import RecurrentShape
from xunlian.recipe.settings import Model, Training
from xunlian.recipe.size import Shape

# Of preferences, at a width of 384; an adapter takes three times as much. On align-en (width 128,
# one seed) DPO with 1.7e-4 left what was known as it was, an adapter with 5e-4, too, but not with
# 1e-3. ORPO learns the answers as well, and was alike with 4e-4 and 1e-3.
ALIGN_RATES = {"dpo": 1e-4, "simpo": 1e-4, "orpo": 5e-4}
SMALLEST_MUON_BLOCK = 128


def peak_rates(
    training: Training,
    shape: Shape | RecurrentShape,
    *,
    adapter: bool,
    method: str | None,
    embedding_rate: float,
) -> dict[str, float]:
    """Peak learning rates by kind of parameter."""
    by_width = (shape.width / 384) ** -0.5
    if training.optimizer == "muon":
        rates = {
            "learning_rate": 0.02,
            "embedding_learning_rate": embedding_rate * by_width,
            "head_learning_rate": 0.004 * by_width,
            "norm_learning_rate": 0.01,
            "weight_decay": 0.01,
        }
    elif method:
        rate = training.learning_rate or ALIGN_RATES[method] * (3 if adapter else 1) * by_width
        rates = {
            "learning_rate": rate,
            "embedding_learning_rate": rate,
            "head_learning_rate": rate,
            "norm_learning_rate": rate,
            "weight_decay": 0.0,
        }
    elif adapter:
        # 4 layers of width 128, rank 16, from encyclopedia to dialogues, 60 steps of 1,024 tokens
        # (validation loss, one seed): 2.52 with 0.004 and LoRA+; plain AdamW 2.63 at best (0.02),
        # Muon 2.56 at best (0.035).
        rate = training.learning_rate or 0.0025 * by_width
        rates = {
            "learning_rate": rate,
            "embedding_learning_rate": rate,
            "head_learning_rate": rate,
            "norm_learning_rate": 2.5 * rate,
            "weight_decay": 0.0,
        }
    else:
        rate = training.learning_rate or 0.003 * by_width
        rates = {
            "learning_rate": rate,
            "embedding_learning_rate": rate,
            "head_learning_rate": rate,
            "norm_learning_rate": rate,
            "weight_decay": 0.1,
        }
    given = {name: getattr(training, name) for name in rates}
    return {name: given[name] if given[name] is not None else rate for name, rate in rates.items()}


def embedding_rate(model: Model, shape: Shape | RecurrentShape, bigrams: bool) -> float:
    """The peak rate of the embedding beside Muon, at a width of 384."""
    if shape.decoder_depth is not None:
        # It is the head, too. Multi30k, 150 s: 0.003, 0.0065 and 0.02 gave validation losses of
        # 3.26, 2.85 and 2.99.
        return 0.0065
    fresh = model.family == "transformer" and model.architecture != "gpt2" and not model.init_from
    if not (fresh and shape.tied):
        return 0.02
    # Its logits start with a small gain (models/decoder.py). What counts have taught it should
    # stay: 0.02 instead of 0.005 then lost 0.11 nats of 5.49.
    return 0.005 if bigrams else 0.04


def muon_block(batch_tokens: int, width: int) -> int:
    """The slices of Muon; 0 where whole matrices cost little beside a batch of this size.

    Slices of b rows cost 10 b / (3 batch_tokens) of the products of their matrices.
    """
    block = max(SMALLEST_MUON_BLOCK, 2 ** round(math.log2(batch_tokens / 64)))
    return block if block < width else 0
