"""What a language's code tells: which files are in it, and which script its text must show.

Scripts are enough to find sides that were swapped or never translated between English and Chinese
or Russian; between English and German they find nothing.
"""

import re
from pathlib import Path

from xunlian.corpus.reading.sources import COMPRESSIONS

# ISO 639-1, and the codes of three letters that corpora use as endings.
_CODE_NAMES = (
    "aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da "
    "de dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy "
    "hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg "
    "li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or "
    "os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta "
    "te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu "
    "lzh yue wuu nan cmn zho eng deu fra spa rus jpn kor hak ceb fil hmn"
)
_CODES = frozenset(_CODE_NAMES.split())

_HAN = "\u2e80-\u2fdf\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_SCRIPTS = {
    "zh lzh yue wuu nan cmn zho hak": _HAN,
    "ja jpn": "\u3040-\u30ff" + _HAN,
    "ko kor": "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af",
    "ru rus uk be bg mk": "\u0400-\u04ff",
    "el": "\u0370-\u03ff\u1f00-\u1fff",
    "he yi": "\u0590-\u05ff",
    "ar fa ur ps": "\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufeff",
    "hi mr ne sa": "\u0900-\u097f",
    "bn as": "\u0980-\u09ff",
    "ta": "\u0b80-\u0bff",
    "th": "\u0e00-\u0e7f",
    "ka": "\u10a0-\u10ff",
    "hy": "\u0530-\u058f",
}
_NEEDED = {
    code: re.compile(f"[{letters}]")
    for codes, letters in _SCRIPTS.items()
    for code in codes.split()
}
_LATIN_NAMES = (
    "en eng de deu fr fra es spa it pt nl da sv no nb nn fi is cs sk pl hu ro hr sl et lv lt ga cy "
    "ca eu gl sq tr vi id ms tl fil sw la eo"
)
_LATIN = frozenset(_LATIN_NAMES.split())
_LETTER = re.compile(r"[^\W\d_]")
_BEYOND_LATIN = re.compile(
    "[\u0370-\u1dff\u2c00-\u2dff\u2e80-\ua71f\ua800-\ufaff\U00010000-\U0003ffff]"
)


def primary(code: str) -> str:
    """'zh-CN' and 'zh_cn' -> 'zh'."""
    return re.split("[-_]", code, maxsplit=1)[0].lower()


def language_of_file(path: Path) -> str | None:
    """The code that a file's name ends with: train.en, train.de.gz, train.zh-CN.txt."""
    endings = [suffix.lower() for suffix in path.suffixes]
    while endings and (endings[-1] in COMPRESSIONS or endings[-1] == ".txt"):
        endings.pop()
    if not endings or not re.fullmatch(r"\.[a-z]{2,3}([-_][a-z]{2,4})?", endings[-1]):
        return None
    code = primary(endings[-1][1:])
    return code if code in _CODES else None


def is_wrong_language(text: str, code: str | None) -> bool:
    """Whether `text` can hardly be in the language, by its script alone.

    A language with a script of its own must show at least one of its letters (a Chinese sentence
    may be mostly Latin names); a language in Latin script may not be mostly in another. A text
    without letters, and a language that is not known here, pass.
    """
    if code is None:
        return False
    needed = _NEEDED.get(primary(code))
    if needed:
        return not needed.search(text) and bool(_LETTER.search(text))
    if primary(code) not in _LATIN or text.isascii() or not _BEYOND_LATIN.search(text):
        return False
    letters = _LETTER.findall(text)
    return 2 * sum(bool(_BEYOND_LATIN.match(letter)) for letter in letters) > len(letters)
