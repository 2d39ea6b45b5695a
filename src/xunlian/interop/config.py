"""The configurations of our networks, and the model types that stand for them in a config.json."""

from xunlian.models.decoder import Architecture, DecoderConfig
from xunlian.models.pair_config import Activation, EncoderDecoderConfig
from xunlian.models.pair_config import Architecture as PairArchitecture
from xunlian.models.recurrent import Family, RecurrentConfig

Config = DecoderConfig | EncoderDecoderConfig | RecurrentConfig

RECURRENT: dict[str, Family] = {"xunlian-rnn": "rnn", "xunlian-gru": "gru", "xunlian-lstm": "lstm"}
SPEEDRUN = "xunlian-speedrun"
"""Model types of our own: no other engine has networks of these."""

ROTARY: dict[str, Architecture] = {
    "qwen3": "qwen3",
    "qwen2": "qwen2",
    "llama": "llama",
    "mistral": "mistral",
    SPEEDRUN: "speedrun",
}
"""Model types of the decoders that turn their queries and keys."""

PAIRS: dict[PairArchitecture, str] = {
    "pegasus": "PegasusForConditionalGeneration",
    "marian": "MarianMTModel",
    "m2m_100": "M2M100ForConditionalGeneration",
    "bart": "BartForConditionalGeneration",
    "mbart": "MBartForConditionalGeneration",
}
"""Model types of the encoder-decoders, and Transformers' class for each."""

MODEL_TYPES = (*ROTARY, "gpt2", *PAIRS, *RECURRENT)

ACTIVATIONS: dict[str, Activation] = {
    "relu": "relu",
    "swish": "swish",
    "silu": "swish",
    "gelu": "gelu",
}
