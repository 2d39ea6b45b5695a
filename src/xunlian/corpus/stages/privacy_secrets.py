"""API keys, tokens and private keys: by their makers' forms, or named as such and random."""

import re
from collections import Counter
from collections.abc import Iterator
from math import log2

from xunlian.corpus.stages.privacy_view import View

_LONGEST = 1 << 14  # bytes of a private key; one of 16,384 bits has 12.6 kB
_PEM = re.compile(rb"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----")
_PEM_END = re.compile(rb"-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----")
_PEM_BODY = re.compile(rb"[A-Za-z0-9+/=\s:,.\\-]{0,16384}")

# Prefix and length as their makers give them; checked by the tests with made-up keys.
_KNOWN = re.compile(
    rb"(?<![A-Za-z0-9])(?:"
    rb"(?:AKIA|ASIA|AGPA|AIDA|AROA|ABIA|ACCA)[A-Z2-7]{16}(?![A-Za-z0-9])"  # AWS
    rb"|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255}"
    rb"|glpat-[A-Za-z0-9_-]{20,64}"
    rb"|sk-(?:proj-|svcacct-|admin-|ant-|or-)?[A-Za-z0-9_-]{20,255}"  # OpenAI, Anthropic, DeepSeek
    rb"|[sr]k_(?:live|test)_[A-Za-z0-9]{16,255}|whsec_[A-Za-z0-9+/=]{24,255}"  # Stripe
    rb"|AIza[A-Za-z0-9_-]{35}|GOCSPX-[A-Za-z0-9_-]{28}"  # Google
    rb"|xox[abeoprs]-[A-Za-z0-9-]{10,255}|xapp-[A-Za-z0-9-]{20,255}"  # Slack
    rb"|hf_[A-Za-z0-9]{30,64}|npm_[A-Za-z0-9]{36}|pypi-AgE[A-Za-z0-9_-]{50,512}"
    rb"|LTAI[A-Za-z0-9]{12,26}|AKID[A-Za-z0-9]{32}"  # Alibaba, Tencent
    rb"|SK[0-9a-f]{32}|AC[0-9a-f]{32}"  # Twilio
    rb"|dop_v1_[0-9a-f]{64}|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}|sq0(?:atp|csp)-[A-Za-z0-9_-]{22,43}"
    rb")"
)
_DOTTED = re.compile(
    rb"eyJ[A-Za-z0-9_-]{8,8192}\.eyJ[A-Za-z0-9_-]{8,8192}\.[A-Za-z0-9_-]{8,8192}"  # JWT, RFC 7519
    rb"|SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"  # SendGrid
    rb"|ya29\.[A-Za-z0-9_-]{20,512}"  # Google OAuth
)
_BOT = re.compile(rb"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])")  # Telegram
_NAMED = re.compile(
    rb"(?:key|token|secret|passw(?:or)?d|passwd|pwd|credentials?|bearer|auth(?:orization)?)"
    rb"[\"'`]?\s{0,3}(?:[:=]|=>|:=)?\s{0,3}(?:(?:bearer|basic)\s)?[\"'`]?([A-Za-z0-9_\-+/=]{16,512})\Z",
    re.IGNORECASE,
)
_NAMED_ASSIGNED = re.compile(rb"[:=\s\"'`]")
_LONGEST_NAMED = 600
_SOLID = re.compile(rb"[A-Za-z0-9+]{12}")  # 'token: docs/2015-16/part-2/index' has no such run
_HEX = re.compile(rb"(?:0x)?[0-9a-fA-F]+")


def find_keys(view: View) -> Iterator[tuple[int, int]]:
    """Private key blocks, and long words that are keys."""
    data = view.data
    for begin in _PEM.finditer(data):
        end = _PEM_END.search(data, begin.end(), begin.end() + _LONGEST)
        if end and b"\0" not in data[begin.end() : end.start()]:
            yield begin.start(), end.end()
        else:
            body = _PEM_BODY.match(data, begin.end())
            yield begin.start(), body.end() if body else begin.end()
    for place in view.occurrences(b"eyJ", b"SG.", b"ya29."):
        if not data[max(0, place - 1) : place].isalnum():
            dotted = _DOTTED.match(data, place)
            if dotted:
                yield dotted.span()
    for start, stop in view.words(16):
        known = [found.span() for found in _KNOWN.finditer(data, start, stop)]
        known = [(first, last) for first, last in known if _is_varied(data[first:last])]
        yield from known
        bot = _BOT.match(data, _digits_before(data, start))
        if bot:
            yield bot.span()
        elif not known and stop - start <= _LONGEST_NAMED:
            found = _NAMED.search(data, max(0, start - 40), stop)
            if found and b"\0" not in found[0] and _is_secret(data, found):
                yield found.span(1)


def _digits_before(data: bytes, start: int) -> int:
    """Where '123456789:' begins before a word, or the word itself."""
    if data[start - 1 : start] != b":":
        return start
    first = start - 1
    while first > max(0, start - 11) and 48 <= data[first - 1] <= 57:
        first -= 1
    return first


def _is_secret(data: bytes, found: re.Match[bytes]) -> bool:
    """Whether what is named a key is one: assigned, and random enough."""
    value = found[1].rstrip(b"=")
    if not _NAMED_ASSIGNED.search(data, found.start(), found.start(1)) or b"//" in value:
        return False
    if _HEX.fullmatch(value):
        return len(value) >= 24 and _entropy(value) >= 3
    return bool(_SOLID.search(value)) and _is_random(value)


def _is_random(value: bytes) -> bool:
    """Digits among letters, few of them repeated: no word and no path."""
    digits = sum(48 <= code <= 57 for code in value)
    return digits >= 2 and digits < len(value) and _entropy(value) >= 3


def _is_varied(value: bytes) -> bool:
    """Not 'sk-your-key-goes-here' and not 'ghp_xxxxxxxx...'."""
    return re.search(rb"[0-9]", value) is not None and _entropy(value) >= 3


def _entropy(value: bytes) -> float:
    """Bits a character, by the value's own frequencies."""
    size = len(value)
    return -sum(n / size * log2(n / size) for n in Counter(value).values())
