"""Long texts in parts that a model can read, cut where sentences end."""

import re
from collections.abc import Callable

# A full stop ends a sentence before a space only: 3.14 and v2.0 go on. Chinese ones always do.
_SENTENCE = re.compile(r"""(?s).*?(?:[.!?…]+["'”’)\]]*\s+|[。！？；]+[”’」』）】"']*\s*)|.+\Z""")
# Scripts written without spaces: Chinese, Japanese, their punctuation and full-width forms.
NO_SPACES = "\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
_NO_SPACES = re.compile(f"[{NO_SPACES}]")


def sentences(text: str) -> list[str]:
    """The sentences of a text; joined, they are the text again."""
    return [match[0] for match in _SENTENCE.finditer(text) if match[0]]


def parts_that_fit(
    text: str, encode: Callable[[str], list[int]], longest: int
) -> tuple[list[list[int]], bool]:
    """The tokens of `text` in as few parts of at most `longest` as its sentences allow.

    A sentence that is longer itself is cut anywhere. The second value says if that happened.
    """
    tokens = encode(text)
    if len(tokens) <= longest:
        return [tokens] if tokens else [], False
    parts: list[list[int]] = []
    open_text, cut = "", False
    for sentence in sentences(text):
        joined = encode((open_text + sentence).strip())
        if open_text and len(joined) > longest:
            parts.append(encode(open_text.strip()))
            open_text, joined = "", encode(sentence.strip())
        if len(joined) > longest:
            parts += [joined[i : i + longest] for i in range(0, len(joined), longest)]
            open_text, cut = "", True
        else:
            open_text += sentence
    if open_text:
        parts.append(encode(open_text.strip()))
    return [part for part in parts if part], cut


def join_texts(texts: list[str]) -> str:
    """Texts one after the other: with a space between, but none beside a Chinese character."""
    joined = ""
    for text in filter(None, (text.strip() for text in texts)):
        bare = _NO_SPACES.match(text) or _NO_SPACES.match(joined[-1:])
        joined += text if bare or not joined else f" {text}"
    return joined
