"""E-mail addresses, IP addresses, and credentials inside URLs."""

import re
from collections.abc import Iterator
from ipaddress import IPv6Address

from xunlian.corpus.stages.privacy_view import View

_AT = re.compile(rb"@(?=[A-Za-z0-9])")
# RFC 5322 allows more, such as '/' and '=', which in text belong to what stands before.
_LOCAL_BACKWARDS = re.compile(rb"[A-Za-z0-9_+\-][A-Za-z0-9.%&'*+_~-]{0,63}")
_DOMAIN = re.compile(rb"(?:[A-Za-z0-9-]{1,63}\.){1,8}(?:xn--[A-Za-z0-9-]{2,59}|[A-Za-z]{2,24})")
# 'logo@2x.png' is a picture for fine screens.
_PICTURE = re.compile(rb"[0-9](?:\.[0-9])?x\.")
_NOT_FIRST = b".%&'*+~-"


def find_emails(view: View) -> Iterator[tuple[int, int]]:
    """E-mail addresses of named hosts."""
    data = view.data
    for at in _AT.finditer(data):
        place = at.start()
        local = _LOCAL_BACKWARDS.match(data[max(0, place - 64) : place][::-1])
        if not local:
            continue
        domain = _DOMAIN.match(data, place + 1)
        if not domain or _PICTURE.match(data, place + 1) or b".." in domain[0]:
            continue
        start = place - local.end()
        while data[start] in _NOT_FIRST:
            start += 1
        if start < place and data[start:place] != b"git":
            yield start, domain.end()


# A password should have its '@' and '#' escaped, and often has not.
_USER_INFO = re.compile(rb"://[^\s/?#@\x00\"'<>:]{0,128}:[^\s/?\x00\"'<>]{1,256}@(?=[\[A-Za-z0-9])")
_QUERY = re.compile(
    rb"[?&;](?:amp;)?(?:access[_-]?token|auth[_-]?token|refresh[_-]?token|id[_-]?token|token|"
    rb"api[_-]?key|apikey|secret[_-]?key|access[_-]?key|client[_-]?secret|secret|passw(?:or)?d|pwd|"
    rb"pass|session[_-]?id|sessionid|phpsessid|jsessionid|sid|auth|signature|sig|"
    rb"x-amz-signature|x-amz-credential|x-amz-security-token|awsaccesskeyid|code_verifier)"
    rb"=([^&#\s\x00\"'<>;]{4,2048})",
    re.IGNORECASE,
)
_VARIABLE = re.compile(rb"[{<$%\[].*|[A-Za-z]{1,12}")


def find_credentials(view: View) -> Iterator[tuple[int, int]]:
    """`user:password` before the host of a URL, and the values of secret fields of its query."""
    for found in _USER_INFO.finditer(view.data):
        if found.start() and view.data[found.start() - 1 : found.start()].isalnum():
            yield found.start() + 3, found.end() - 1
    for found in _QUERY.finditer(view.data):
        if not _VARIABLE.fullmatch(found[1]):  # {token}, $TOKEN, or a plain word
            yield found.span(1)


_DOTS = re.compile(rb"\.[0-9]{1,3}\.(?=[0-9]{1,3})")
_V4 = re.compile(rb"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?![0-9])")
_V4_AFTER = re.compile(rb"\.?[0-9A-Za-z_]|-[0-9.]")
_NOBODYS = frozenset(
    b"0.0.0.0 127.0.0.1 255.255.255.255 255.255.255.0 255.255.0.0 255.0.0.0 0.0.0.255".split()
)
_VERSION = re.compile(
    r"(?:version|release|ver\.?|rev\.?|section|sec\.|chapter|clause|firmware|build|v|§|版本|版|章|节)"
    r"[\s:=]{0,2}$",
    re.IGNORECASE,
)
_ADDRESS_CUE = re.compile(r"\bip\b|address|host|server|地址|主机|服务器", re.IGNORECASE)

_COLONS = re.compile(rb":[0-9A-Fa-f]{0,4}:")
_V6_BACKWARDS = re.compile(rb"[0-9A-Fa-f:]{0,40}")
_V6 = re.compile(rb"[0-9A-Fa-f:]{2,45}(?:(?:\.[0-9]{1,3}){3})?")
_WIDE_GROUP = re.compile(rb"[0-9A-Fa-f]{3,4}")


def find_ips(view: View) -> Iterator[tuple[int, int]]:
    """IPv4 and IPv6 addresses, but for those that are nobody's and for version numbers."""
    data = view.data
    end = 0
    for dots in _DOTS.finditer(data):
        if dots.start() < end:
            continue
        start = dots.start()
        while start > max(0, dots.start() - 4) and 48 <= data[start - 1] <= 57:
            start -= 1
        found = _V4.match(data, start)
        if found and _is_v4(view, found):
            end = found.end()
            yield start, end
    end = 0
    for colons in _COLONS.finditer(data):
        if colons.start() < end:
            continue
        left = _V6_BACKWARDS.match(data[max(0, colons.start() - 40) : colons.start()][::-1])
        start = colons.start() - (left.end() if left else 0)
        if data[start : start + 1] == b":" != data[start + 1 : start + 2]:
            start += 1  # 'address:2001:db8::1'
        found = _V6.match(data, start)
        end = found.end() if found else colons.end()
        if found and _is_v6(view, found):
            yield found.span()


def _is_v4(view: View, found: re.Match[bytes]) -> bool:
    if found[0] in _NOBODYS or view.data[max(0, found.start() - 1) : found.start()] in _JOINED:
        return False
    parts = found[0].split(b".")
    if any(int(part) > 255 or (len(part) > 1 and part[:1] == b"0") for part in parts):
        return False
    if _V4_AFTER.match(view.data, found.end()):
        return False
    before = view.before(found.start(), 24)
    if _VERSION.search(before):
        return False
    # 1.2.3.4 is a paragraph or a version more often than an address.
    return max(map(int, parts)) > 20 or bool(_ADDRESS_CUE.search(before))


_JOINED = frozenset(
    bytes([code]) for code in b"0123456789._-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)


def _is_v6(view: View, found: re.Match[bytes]) -> bool:
    text = found[0]
    if view.data[found.start() - 1 : found.start()].isalnum() or text in (b"::1", b"::"):
        return False
    if view.data[found.end() : found.end() + 1].isalnum():
        return False
    # 'such as 128::' ends a line before code, and `ffff:ff00::` is a mask.
    if text.endswith(b"::") and view.data[found.end() : found.end() + 1] != b"/":
        return False
    # `dead::beef` is C++, `a[1::2]` is Python.
    if b"::" in text and not (_WIDE_GROUP.match(text) and re.search(rb"[0-9]", text)):
        return b"." in text and _valid_v6(text)
    return _valid_v6(text)


def _valid_v6(text: bytes) -> bool:
    try:
        IPv6Address(text.decode("ascii"))
    except ValueError:
        return False
    return True
