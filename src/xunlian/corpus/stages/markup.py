"""HTML tags and entities that were left over in plain text.

Only what is certainly markup: known elements, well formed; entities with a known name and a
semicolon. Tags go before entities, so that `&lt;b&gt;`, which is text about a tag, becomes `<b>`.
"""

import html
import re

_BLOCK = "p|br|hr|div|li|ul|ol|tr|table|h[1-6]|blockquote|section|article|dl|dt|dd|pre|center"
_INLINE = (
    "a|b|i|u|s|em|strong|span|font|img|sup|sub|small|big|tt|code|strike|del|ins|mark|cite|q|abbr"
    "|td|th|tbody|thead|tfoot|colgroup|col|label|input|button|iframe|video|audio|source|figure"
    "|figcaption|html|head|body|main|nav|header|footer|aside|form|nobr|wbr|ruby|rt|rb|rp|time"
)
_KNOWN = rf"(?:{_BLOCK}|{_INLINE})"
# Possessive quantifiers: no part can be matched in two ways, so the search is linear.
_VALUE = r"""\s*+=\s*+(?:"[^"<>]*+"|'[^'<>]*+'|[^\s"'<>=]++)"""
_ATTRIBUTES = (
    rf"(?:\s++(?:[A-Za-z_:@][\w:.-]*+{_VALUE}"
    r"|(?:hidden|disabled|checked|controls|autoplay|loop|muted|allowfullscreen|noshade|nowrap)\b))*+"
)
_TAG = re.compile(rf"</?(?:({_BLOCK})|{_INLINE}){_ATTRIBUTES}\s*+/?>", re.I)
# A lone <a> or <p> may be a type parameter or a placeholder; one of these shows that it is not.
_EVIDENCE = re.compile(rf"</{_KNOWN}>|<[bh]r\s?/?>|<{_KNOWN}\s++[A-Za-z-]++=", re.I)
_ENTITY = re.compile(r"&(?:#\d{2,7}|#[xX][0-9a-fA-F]{2,6}|[A-Za-z][A-Za-z0-9]{1,30});")


def strip_tags(text: str) -> tuple[str, int]:
    """Without tags (those between blocks become line ends); how many there were."""
    if "<" not in text or not _EVIDENCE.search(text):
        return text, 0
    return _TAG.subn(lambda match: "\n" if match[1] else "", text)


def resolve_entities(text: str) -> tuple[str, int]:
    """With the characters that the entities stand for, also those escaped twice; how many."""
    count = 0
    for _ in range(3):
        if "&" not in text:
            break
        before = text
        text, found = _ENTITY.subn(_character, text)
        if text == before:
            break
        count += found
    return text, count


def _character(match: re.Match[str]) -> str:
    return html.unescape(match[0])
