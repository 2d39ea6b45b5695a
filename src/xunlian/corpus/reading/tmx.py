"""Pairs out of a translation memory (TMX 1.4), in a stream: one unit is in memory at a time.

Text inside inline elements (<hi>, <ph>, ...) is kept, the elements themselves are not. Nothing is
ever loaded from elsewhere, and a document that declares entities is refused, since those can blow
up a small file to gigabytes ("billion laughs").
(https://www.gala-global.org/tmx-14b)
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat

from xunlian.corpus.reading.languages import primary
from xunlian.corpus.reading.sources import Source
from xunlian.corpus.reading.trouble import Advance
from xunlian.corpus.reading.unpack import read_bytes
from xunlian.errors import InputError, did_you_mean

Languages = tuple[str | None, str | None]
"""Codes of the source's and the target's language, None where not known."""


def read_tmx(source: Source, languages: Languages, advance: Advance) -> Iterator[tuple[str, str]]:
    """The two languages of each unit; an empty text where a unit lacks one.

    Raises:
        InputError: damaged, no TMX, no languages named, or none of its units has one of them.
    """
    name = source.name
    missing = {code for code in languages if code}
    has: dict[str, None] = {}
    for unit in _units(source, advance):
        has |= dict.fromkeys(unit.texts)
        if None in languages:
            raise InputError(
                f"'{name}' has texts in {', '.join(has)}. Name two of them with "
                "corpus.source_language=... and corpus.target_language=..."
            )
        texts = [unit.text(code) for code in languages if code]
        missing -= {code for code, text in zip(languages, texts, strict=True) if text and code}
        yield texts[0], texts[1]
    if not has:
        raise InputError(f"'{name}' has no translation units (<tu>): it is no TMX file.")
    for code in languages:
        if code in missing:
            raise InputError(
                f"'{name}' has no text in '{code}'.{did_you_mean(code, has)} It has: "
                f"{', '.join(has)}. Name two with corpus.source_language=... and "
                "corpus.target_language=..."
            )


def tmx_languages(source: Source) -> Languages:
    """The languages of a file whose first unit has exactly two, else (None, None)."""
    for unit in _units(source, lambda _: None):
        codes = [primary(code) for code in unit.texts]
        if len(codes) != 2:
            break
        if unit.source_language and primary(unit.source_language) == codes[1]:
            codes.reverse()
        return codes[0], codes[1]
    return None, None


@dataclass
class _Unit:
    """A <tu>: what is said in each language, and the one it was written in, if that is told."""

    source_language: str | None
    texts: dict[str, str] = field(default_factory=dict)

    def text(self, code: str) -> str:
        """The text in this very code, else in the same language of any region."""
        for known, text in self.texts.items():
            if known.lower() == code.lower():
                return text
        return next((t for known, t in self.texts.items() if primary(known) == primary(code)), "")


def _units(source: Source, advance: Advance) -> Iterator[_Unit]:
    parser = _Parser(source.name)
    try:
        for block in read_bytes(source, advance):
            parser.expat.Parse(block, False)
            while parser.units:
                yield parser.units.popleft()
        parser.expat.Parse(b"", True)
        yield from parser.units
    except expat.ExpatError as error:
        raise InputError(
            f"'{source.name}' is damaged or no TMX file (line {error.lineno:,}: "
            f"{expat.ErrorString(error.code)}). Mend it, or get it again."
        ) from error
    except (ValueError, LookupError) as error:  # an encoding that expat does not know
        raise InputError(
            f"'{source.name}' cannot be decoded ({error}). Convert it to UTF-8."
        ) from error


class _Parser:
    """Collects finished units in `units`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.units: deque[_Unit] = deque()
        self.expat = expat.ParserCreate()
        self.expat.buffer_text = True
        self.expat.StartElementHandler = self._start
        self.expat.EndElementHandler = self._end
        self.expat.EntityDeclHandler = self._refuse
        self._unit: _Unit | None = None
        self._source: str | None = None
        self._language = ""

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        tag = tag.lower()
        if tag == "header":
            self._source = attributes.get("srclang")
        elif tag == "tu":
            self._unit = _Unit(attributes.get("srclang", self._source))
        elif tag == "tuv":
            self._language = attributes.get("xml:lang") or attributes.get("lang") or ""
        elif tag == "seg" and self._unit:
            self._text: list[str] = []
            self.expat.CharacterDataHandler = self._text.append

    def _end(self, tag: str) -> None:
        tag = tag.lower()
        if tag == "seg" and self._unit:
            self.expat.CharacterDataHandler = None
            self._unit.texts.setdefault(self._language, "".join(self._text))
        elif tag == "tu" and self._unit:
            self.units.append(self._unit)
            self._unit = None

    def _refuse(self, *_: object) -> NoReturn:
        raise InputError(
            f"'{self.name}' declares entities of its own (<!ENTITY ...>), which can hide "
            "gigabytes. Take the declarations out."
        )
