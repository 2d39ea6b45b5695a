"""How text is split before tokens are learned or looked up, and the special tokens.

- `WORDS` is Qwen2's pattern, letter for letter, because llama.cpp knows it by that name: a model
  with another pattern would need a patched engine.
- Chinese and Japanese write no spaces, so `WORDS` takes a whole clause for one word. Learning
  from such words makes tokens of whole sentences and needs gigabytes for their pairs
  (huggingface/tokenizers#422, #994). So *while learning* a run of Han or Kana is also cut into
  `WINDOW`s; the learned merges then never reach further than one window, and the plain pattern
  is enough for encoding.
"""

END = "<|endoftext|>"
"""Ends every document."""

PAD = "<pad>"
"""Starts and fills the sequences of encoder-decoders; only their tokenizers have it."""

UNKNOWN = "<unk>"
"""Stands for what the vocabulary cannot say; only WordPiece ever produces it."""

WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Four characters hold nearly all Chinese words, idioms included.
WINDOW = r"[\p{Han}\p{Hiragana}\p{Katakana}]{1,4}"

CHARACTER = r"[\p{Han}\p{Hiragana}\p{Katakana}]"
"""One character of a script that writes no spaces between words."""

BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))
"""SentencePiece's names of the bytes, for characters that are not in the vocabulary."""
