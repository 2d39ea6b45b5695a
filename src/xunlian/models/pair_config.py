"""What an encoder-decoder is made of, for all layouts that encoder_decoder.py tells of."""

import math
from dataclasses import dataclass
from typing import Literal

Architecture = Literal["pegasus", "marian", "m2m_100", "bart", "mbart"]
Activation = Literal["relu", "swish", "gelu"]


@dataclass(frozen=True)
class EncoderDecoderConfig:
    """All that fixes the shape and the mathematics of an encoder-decoder.

    `depth` is that of the encoder; `context` the longest source and the longest target. `scaled`:
    embeddings go in multiplied by sqrt(D). `head_bias`: a fixed bias is added to the logits.
    `first_position` is that of a text's first token; rows of the table before it are not used.
    """

    architecture: Architecture
    vocab_size: int
    depth: int
    decoder_depth: int
    width: int
    heads: int
    mlp_width: int
    context: int
    norm_epsilon: float = 1e-5
    activation: Activation = "relu"
    scaled: bool = True
    head_bias: bool = False
    first_position: int = 0

    @property
    def embedding_scale(self) -> float:
        return math.sqrt(self.width) if self.scaled else 1.0

    @property
    def norms_first(self) -> bool:
        return self.architecture in ("pegasus", "m2m_100", "mbart")

    @property
    def learns_positions(self) -> bool:
        """And norms its embeddings."""
        return self.architecture in ("bart", "mbart")

    @property
    def head_width(self) -> int:
        return self.width // self.heads
