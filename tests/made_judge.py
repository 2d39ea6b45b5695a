"""A small random model that chats and rates answers, made by hand."""

from dataclasses import replace

from made_decoder import CONFIGS, randomized
from made_run import byte_tokenizer

from xunlian.interop.huggingface import write_config, write_weights
from xunlian.tokenizer.chat import make_chat
from xunlian.tokenizer.ratings import ATTRIBUTES, with_ratings

CONTEXT = 160


def make_judge(path, attributes=ATTRIBUTES, architecture="qwen3"):
    """Its folder; without `attributes`, it only chats."""
    chat, _ = with_ratings(make_chat(byte_tokenizer(), None)[0], attributes)
    tokenizer = chat.tokenizer
    config = replace(
        CONFIGS[architecture], vocab_size=tokenizer.vocab_size, context=CONTEXT, rope_scaling=None
    )
    path.mkdir(exist_ok=True)
    write_config(path, config, tokenizer.end_id, turn_end_id=chat.turn_end_id)
    write_weights(path / "model.safetensors", randomized(config))
    tokenizer.save(path)
    return path
