"""The limits of the rules for English and for Chinese, and where each value comes from.

English: as published. Gopher, arXiv 2112.11446, appendix A1.1; C4, arXiv 1910.10683, section 2.2;
FineWeb, arXiv 2406.17557, section 3.6.

Chinese: words are not marked, and the result should hang on no dictionary, so the unit is the
character or mark; jieba's words have 1.6 of them on Wikipedia, 1.5 in old novels. Values are those
that FineWeb-2 (arXiv 2506.20920) derived for Mandarin in words, where it has them: n-grams of n
words become such of 1.6 n characters. The others, and that none of these costs good text, were
measured on Wikipedia (600 articles of 200 characters and more), three novels (341 chapters) and
classical poems (808), beside what stands around the text on 20 news pages: below, "good" is the
value that 99.5% of the articles keep to. `benchmarks/corpus_quality_zh.py` shows what is kept.
"""

from dataclasses import dataclass, replace
from math import inf

_TERMINAL = "!.?！．？。｡؟۔।॥։።‼⁇⁈⁉"


@dataclass(frozen=True)
class Limits:
    """The limits that a document is held to. Lengths are in characters, shares from 0 to 1."""

    count_signs: bool = False
    """For languages without spaces: a character counts as a word does, a line that is short but
    ends in a mark is no short line, and the words of n-grams have no spaces between them."""
    # Gopher, quality
    least_words: int = 50
    most_words: int = 100_000
    word_length: tuple[float, float] = (3, 10)
    symbols_a_word: float = 0.1
    bullet_lines: float = 0.9
    ellipsis_lines: float = 0.3
    words_with_letters: float = 0.8
    stop_words: tuple[str, ...] = ("the", "be", "to", "of", "and", "that", "have", "with")
    least_stop_words: int = 2
    # Gopher, repetition
    duplicate_lines: float = 0.3
    duplicate_line_characters: float = 0.2
    top_grams: tuple[tuple[int, float], ...] = ((2, 0.20), (3, 0.18), (4, 0.16))
    duplicate_grams: tuple[tuple[int, float], ...] = (
        (5, 0.15),
        (6, 0.14),
        (7, 0.13),
        (8, 0.12),
        (9, 0.11),
        (10, 0.10),
    )
    # C4
    least_words_in_line: int = 3
    curly_drops_document: bool = True
    least_sentences: int = 5
    end_marks: str = ".?!\"'"
    # FineWeb
    line_marks: str = _TERMINAL
    punctuated_lines: float = 0.12
    short_line: int = 30
    short_lines: float = 0.67
    repeated_line_characters: float = 0.01
    line_breaks_a_word: float = 0.3

    def with_least_words(self, words: int) -> "Limits":
        """The same with another `least_words`, given in words; 1.6 characters make one."""
        return replace(self, least_words=round(words * 1.6) if self.count_signs else words)


ENGLISH = Limits()
CHINESE = Limits(
    count_signs=True,
    least_words=80,
    most_words=1_000_000,  # a novel is no spam
    word_length=(1, 5),  # FineWeb-2; good: 2.2, Latin words among the characters raise it
    words_with_letters=0.735,  # FineWeb-2; good: 0.77 of the characters and marks
    stop_words=tuple(
        "的了是在不有和人我他这為为這也而之其以于於与與年月日中由被后後一上大来來无無何如"
    ),
    duplicate_lines=0.287,  # FineWeb-2
    top_grams=((3, 0.256), (5, 0.201), (6, 0.171)),  # of 2, 3, 4 words; good: 0.13, 0.12, 0.14
    duplicate_grams=((8, 0.198), (10, 0.182), (11, 0.167), (13, 0.154), (14, 0.14), (16, 0.127)),
    curly_drops_document=False,  # only its line: it would cost one good article in twenty
    least_sentences=3,  # they are longer: 5 would cost one good article in thirty
    end_marks="。！？….?!”’」』\"'",
    line_marks=_TERMINAL + "…”’」』，；",  # a line of verse may end in a comma
    punctuated_lines=0.106,  # FineWeb-2; good: 0.21, around the text at most 0.10
    short_line=10,  # five words
    repeated_line_characters=0.1,  # FineWeb-2
    line_breaks_a_word=0.15,  # good: 0.145; verse 0.14; FineWeb-2's 0.178 a word would be 0.11
)
JAPANESE = replace(CHINESE, stop_words=(), least_stop_words=0)
OTHER = replace(
    ENGLISH,
    stop_words=(),
    least_stop_words=0,
    word_length=(0, inf),
    short_lines=1,
    repeated_line_characters=0.1,
)
"""Any other language that a document is said to be in; with what FineWeb-2 set for all of them."""
