"""The README.md beside an exported model: how to run it, without Xunlian."""

from typing import TYPE_CHECKING

from xunlian.tokenizer.fingerprint import TARGET

if TYPE_CHECKING:
    from xunlian.tokenizer.framing import Frames

_ONNX_DECODER = """# A language model in ONNX

`model.onnx` has its weights in `model.onnx.data`; both are needed. Inputs and outputs have the
names that Optimum and Transformers.js know: each `present...` is the `past_key_values...` of the
next call.

```python
# pip install onnxruntime tokenizers
import numpy as np, onnxruntime, tokenizers

tokenizer = tokenizers.Tokenizer.from_file("tokenizer.json")
session = onnxruntime.InferenceSession("model.onnx")
ids = tokenizer.encode({prompt!r}, add_special_tokens=False).ids
new, done = ids, 0
caches = {{
    port.name: np.zeros((1, port.shape[1], 0, port.shape[3]), np.float32)
    for port in session.get_inputs() if port.name.startswith("past")
}}
names = [port.name.replace("present", "past_key_values") for port in session.get_outputs()]
while len(ids) < {length}:
    inputs = {{
        "input_ids": np.array([new]),
        "attention_mask": np.ones((1, done + len(new)), np.int64),
        "position_ids": np.arange(done, done + len(new))[None],
    }}
    logits, *present = session.run(None, inputs | caches)
    caches = dict(zip(names[1:], present))
    done, new = done + len(new), [int(logits[0, -1].argmax())]
    if new[0] in {ends}:
        break
    ids = ids + new
print(tokenizer.decode(ids))
```

A batch: pad shorter texts on the left, with 0 in `attention_mask` there, and count `position_ids`
from the first token that is none.
"""

_ONNX_PAIRS = """# An encoder-decoder in ONNX

`encoder.onnx` reads a source once; `decoder.onnx` is called for each token of the target. Each
needs its `.data` file. Every `present...` is the `past_key_values...` of the next call.

```python
# pip install onnxruntime tokenizers
import numpy as np, onnxruntime, tokenizers

source_tokenizer = tokenizers.Tokenizer.from_file("tokenizer.json")
target_tokenizer = tokenizers.Tokenizer.from_file("{target}tokenizer.json")
encoder = onnxruntime.InferenceSession("encoder.onnx")
decoder = onnxruntime.InferenceSession("decoder.onnx")

tokens = source_tokenizer.encode({prompt!r}, add_special_tokens=False).ids
source = np.array([{before}tokens + {after}])
mask = np.ones_like(source)
memory = encoder.run(None, {{"input_ids": source, "attention_mask": mask}})
past = lambda port: port.name.replace("present", "past_key_values")
memory = dict(zip(map(past, encoder.get_outputs()), memory))
caches = {{
    port.name: np.zeros((1, port.shape[1], 0, port.shape[3]), np.float32)
    for port in decoder.get_inputs() if ".decoder." in port.name
}}
ids = new = {start}
while len(ids) < {length}:
    inputs = {{"input_ids": np.array([new]), "encoder_attention_mask": mask}}
    logits, *present = decoder.run(None, inputs | memory | caches)
    caches = dict(zip(map(past, decoder.get_outputs()[1:]), present))
    new = [int(logits[0, -1].argmax())]
    if new[0] in {ends}:
        break
    ids = ids + new
print(target_tokenizer.decode(ids))
```
"""

_CT2_DECODER = """# A language model for CTranslate2

```python
# pip install ctranslate2 tokenizers
import ctranslate2, tokenizers

tokenizer = tokenizers.Tokenizer.from_file("tokenizer.json")
generator = ctranslate2.Generator(".", device="cpu")
tokens = tokenizer.encode({prompt!r}, add_special_tokens=False).tokens
found = generator.generate_batch(
    [tokens], max_length={new}, sampling_topk=1, end_token={ends}
)
print(tokenizer.decode(found[0].sequences_ids[0]))
```
"""

_CT2_PAIRS = """# An encoder-decoder for CTranslate2

```python
# pip install ctranslate2 tokenizers
import ctranslate2, tokenizers

source_tokenizer = tokenizers.Tokenizer.from_file("tokenizer.json")
target_tokenizer = tokenizers.Tokenizer.from_file("{target}tokenizer.json")
translator = ctranslate2.Translator(".", device="cpu")
tokens = source_tokenizer.encode({prompt!r}, add_special_tokens=False).tokens
found = translator.translate_batch(
    [{before}tokens + {after}], {prefix}beam_size=4, max_decoding_length={new}
)
ids = [target_tokenizer.token_to_id(token) for token in found[0].hypotheses[0]]
print(target_tokenizer.decode(ids))
```
"""

_NOTES = {
    ("onnx", False): _ONNX_DECODER,
    ("onnx", True): _ONNX_PAIRS,
    ("ctranslate2", False): _CT2_DECODER,
    ("ctranslate2", True): _CT2_PAIRS,
}


def note(
    to: str,
    *,
    frames: "Frames | None",
    names: list[str],
    prompt: str,
    length: int,
    ends: list[int],
    separate: bool,
) -> str:
    """The README of a folder in the format `to`, with a program that reads `prompt`.

    It stops at a text (a target) of `length` tokens, its first one included. `frames` are those of
    an encoder-decoder, `names` those of all tokens.
    """
    around: dict[str, object] = {}
    if frames:

        def shown(ids: tuple[int, ...]) -> list[int] | list[str]:
            return list(ids) if to == "onnx" else [names[i] for i in ids]

        before, after = frames.source
        around = {
            "before": f"{shown(before)} + " if before else "",
            "after": shown(after),
            "start": [frames.start_id, *frames.forced],
            "prefix": f"target_prefix=[{shown(frames.forced)}], " if frames.forced else "",
            "target": f"{TARGET}/" if separate else "",
        }
    return _NOTES[to, frames is not None].format(
        prompt=prompt, length=length, new=length - 1, ends=ends, **around
    )
