"""A model folder that says one thing, whatever it is asked, as long as that is as long."""

import orjson
from made_decoder import reciting
from made_run import byte_tokenizer

from xunlian.interop.huggingface import write_config, write_weights
from xunlian.tokenizer.chat import make_chat


def make_reciter(path, asked, answer, *, chat=False, context=256):
    """Writes a folder of a model that says `answer` after `asked`: a text, or with `chat` what the
    user says."""
    tokenizer = byte_tokenizer()
    if chat:
        made = make_chat(tokenizer, None)[0]
        tokenizer, end = made.tokenizer, made.turn_end_id
        prompt = made.prompt([{"role": "user", "content": asked}])
    else:
        prompt, end = tokenizer.encode(asked), tokenizer.end_id
    said = [*tokenizer.encode(answer), end]
    model = reciting([*prompt[1:], *said], tokenizer.vocab_size, context)
    write_config(path, model.config, tokenizer.end_id)
    write_weights(path / "model.safetensors", model)
    tokenizer.save(path)
    return path


def write_rows(path, *rows):
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path
