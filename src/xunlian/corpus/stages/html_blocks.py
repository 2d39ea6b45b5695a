"""Which lines of a web page are its text: by length, links, punctuation and neighbours.

Resiliparse finds the part of the page with the content, from the names of its elements. What it
leaves in (captions, bylines, share bars, teasers of other articles) shows in the lines themselves:

- A *paragraph* is long, has sentence punctuation and few links; everything else is judged by what
  it stands between (the idea of jusText: Pomikálek 2011, "Removing Boilerplate and Duplicate
  Content from Web Corpora", whose stop word lists are not needed here).
- Length is counted in UTF-8 bytes: a Han character says about as much as three letters, so one
  threshold serves both languages.
- Before the first and after the last paragraph only the title and whole sentences stay; between
  them, all that is no furniture.
"""

import html
import re
from dataclasses import dataclass

from xunlian.corpus.stages.boilerplate import is_page_furniture, starts_appendix

PARAGRAPH_BYTES = 90
_TITLE_BYTES = 30  # of a heading other than h1: shorter ones stand above parts of a site
APPENDIX_SHARE = 0.35
"""What follows the heading of an appendix is one only when it is this much of the page, or less."""

_BLANK = " \t\xa0\u3000\u200b\ufeff"
_LINK = re.compile(r'<a href="[^"]*">([^<]*)</a>')
_TAG = re.compile(r'</?(?:a(?: href="[^"]*")?|p|h[1-6]|ul|ol|li|br|pre)>')
_KIND = re.compile(r"<(p|h[1-6]|li|pre)>")
_SENTENCE = re.compile(r"[.!?。！？…；，](?:\s|$|[\"'”’」』）)]|(?<=[^\x00-\x7f]))|, ")
_SENTENCE_END = re.compile(r"[.!?。！？…：:；，][\"'”’」』）)\]]*$")


@dataclass(slots=True)
class Block:
    """One line of a page."""

    text: str
    kind: str
    """p, li, pre, h1 to h6, or '' for text that stands in no such element."""
    size: int
    """UTF-8 bytes."""
    linked: bool
    """Whether half of it or more is links."""
    gap: bool
    """Whether a blank line stands before it."""
    drop: bool = False

    @property
    def is_long(self) -> bool:
        return self.size >= PARAGRAPH_BYTES and self.kind[:1] != "h"

    @property
    def is_paragraph(self) -> bool:
        return self.is_long and not self.linked and _SENTENCE.search(self.text) is not None

    @property
    def is_sentence(self) -> bool:
        return not self.linked and _SENTENCE_END.search(self.text) is not None


def read_blocks(markup: str) -> list[Block]:
    """The lines of Resiliparse's 'minimal_html', with links."""
    blocks: list[Block] = []
    gap = False
    kind = ""
    waiting: list[Block] | None = None  # the lines since a link that has not been closed
    for line in markup.split("\n"):
        if kind != "pre":
            line = line.strip()
        if not line:
            gap = True
            continue
        linked = 0
        if "<" in line:
            if found := _KIND.search(line):
                kind = found[1]
            if "<a " in line:
                waiting = None
                linked = sum(map(_size, _LINK.findall(line)))
            text = _TAG.sub("", line)
        else:
            text = line
        if "&" in text:
            text = html.unescape(text)
        if kind != "pre":
            text = text.strip(_BLANK)
        if text:
            size = _size(text)
            blocks.append(Block(text, kind, size, 2 * linked >= size, gap))
            gap = False
            if waiting is not None:
                waiting.append(blocks[-1])
        if "<" in line:
            if "</a>" in line and waiting:
                for block in waiting:
                    block.linked = True
                waiting = None
            if line.rfind("<a ") > line.rfind("</a>"):
                waiting = []
            if kind and f"</{kind}>" in line:
                kind = ""
    return blocks


def choose(blocks: list[Block], page_title: str = "", whole_page: bool = False) -> list[Block]:
    """Those that are the text of the page.

    Args:
        page_title: what the page's <title> says; the line that it begins with is kept.
        whole_page: the blocks are not only of what looks like the main content, so what follows
            the last paragraph is not believed.
    """
    seen: set[str] = set()
    for block in blocks:
        if whole_page and block.linked:
            block.drop = True  # menus, which need no closer look
        elif block.kind != "pre" and is_page_furniture(block.text):
            block.drop = True
        elif block.size >= 40:
            # Captions and teasers often stand twice in a page, sentences do not.
            block.drop = block.text in seen
            seen.add(block.text)
    blocks = _without_appendices(blocks)
    body = _main_paragraphs(blocks)
    if not body:
        return [block for block in blocks if not block.drop and not block.linked]
    first, last = body[0], body[-1]
    title = _title(blocks[:first], page_title)
    kept = []
    ended = False
    for i, block in enumerate(blocks):
        if i < first:
            keep = i == title or (
                i > title
                and not block.linked
                and (block.kind == "p" or (title >= 0 and _may_lead(block)))
            )
        elif i > last:
            # A list or an address may end a text; the site's own things begin with the first
            # button, link or heading, and after these only whole sentences are believed.
            ended |= block.drop or block.linked or block.kind[:1] == "h"
            keep = not whole_page and (block.is_sentence or not ended)
        else:
            keep = not block.linked or block.kind != ""
        if keep and not block.drop:
            kept.append(block)
    return kept


def _title(blocks: list[Block], page_title: str) -> int:
    """Index of the text's title, or -1: what the page's own title begins with, the first h1, or a
    long heading close above the text."""
    for i, block in enumerate(blocks):
        if not block.drop and len(block.text) > 5 and page_title.startswith(block.text):
            return i
    if (first := next((i for i, block in enumerate(blocks) if block.kind == "h1"), -1)) >= 0:
        return first
    for i in range(len(blocks) - 1, max(len(blocks) - 4, -1), -1):
        block = blocks[i]
        if (
            block.kind[:1] == "h"
            and block.size >= _TITLE_BYTES
            and not (block.drop or block.linked)
        ):
            return i
    return -1


def _may_lead(block: Block) -> bool:
    """Whether it may stand between a title and the first paragraph, outside of <p>."""
    return block.is_sentence or block.is_long or block.kind == "li"


def share_before(whole: list[Block], part: list[Block]) -> float:
    """Share of the bytes of `whole` that stand before `part`; 1 when it is not in there."""
    before = 0
    for block in whole:
        if part and block.text == part[0].text:
            return before / sum(block.size for block in whole)
        before += block.size
    return 1.0


def _main_paragraphs(blocks: list[Block]) -> list[int]:
    """Where the paragraphs are; when most stand in <p>, others (captions, teasers) do not count."""
    found = [i for i, block in enumerate(blocks) if block.is_paragraph and not block.drop]
    proper = [i for i in found if blocks[i].kind == "p"]
    if 2 * sum(blocks[i].size for i in proper) > sum(blocks[i].size for i in found):
        return proper
    return found


def _without_appendices(blocks: list[Block]) -> list[Block]:
    """Cut at the headings of teasers and comments.

    To the end, if not much is lost; else to the next paragraph.
    """
    weight = [block.size if block.is_paragraph and not block.drop else 0 for block in blocks]
    left = total = sum(weight)
    kept: list[Block] = []
    skipping = False
    for block, size in zip(blocks, weight, strict=True):
        if starts_appendix(block.text) and not block.is_sentence:
            if left <= APPENDIX_SHARE * total and left < total:
                break
            skipping = True
        elif size:
            skipping = False
        if not skipping:
            kept.append(block)
        left -= size
    return kept


def write(blocks: list[Block]) -> str:
    """Plain text: a blank line where the page had one, and a dash before items of a list."""
    lines: list[str] = []
    for block in blocks:
        if lines and block.gap:
            lines.append("")
        lines.append(f"- {block.text}" if block.kind == "li" else block.text)
    return "\n".join(lines)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
