"""The text of PDF files, page by page (pypdf, which is pure Python; extra `web`).

A page is a program, and may be one that never ends or makes gigabytes. pypdf bounds what a stream
may unpack to (75 MB); pages, the time for each and for all, and the text are bounded here.
"""

import time
from collections.abc import Iterator
from typing import IO

from xunlian.corpus.budget import SECONDS, TooSlow, time_budget
from xunlian.corpus.extras import need
from xunlian.corpus.reading.trouble import LIMITS, Limits
from xunlian.errors import InputError

_BEGIN, _EACH = 60.0, 1.0
"""Seconds of processor time that all pages may take, and more for each page; 0.1 is usual."""


def read_pdf(file: IO[bytes], name: str, limits: Limits = LIMITS) -> str:
    """The text of all pages, a blank line between them.

    A page that is a picture has none.

    Raises:
        InputError: pypdf is not installed; damaged, no PDF, or encrypted; too large or too slow.
    """
    need("pypdf", "web")
    size = file.seek(0, 2)
    file.seek(0)
    if size > limits.whole:
        raise _refused(name, f"has {size:,} bytes, more than {limits.whole:,}")
    try:
        return "\n\n".join(filter(None, _pages(file, name, limits)))
    except InputError:
        raise
    except TooSlow as error:
        raise _refused(name, f"has a page that takes more than {SECONDS:.0f} s") from error
    except Exception as error:  # pypdf meets broken files with errors of every kind
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"'{name}' is damaged or no PDF file ({reason}). Get the file again."
        ) from error


def _pages(file: IO[bytes], name: str, limits: Limits) -> Iterator[str]:
    pypdf = need("pypdf", "web")
    with time_budget(SECONDS):
        reader = pypdf.PdfReader(file)
        if reader.is_encrypted and not reader.decrypt(""):
            raise InputError(f"'{name}' is encrypted. Save it without a password.")
        count = len(reader.pages)
    if count > limits.pages:
        raise _refused(name, f"has {count:,} pages, more than {limits.pages:,}")
    begin, characters = time.process_time(), 0
    for number in range(count):
        with time_budget(SECONDS):
            text = reader.pages[number].extract_text().strip()
        characters += len(text)
        if characters > limits.record:
            raise _refused(name, f"has more than {limits.record:,} characters")
        if time.process_time() - begin > _BEGIN + _EACH * number:
            raise _refused(name, f"takes too long, {_EACH:.0f} s a page")
        yield text


def _refused(name: str, why: str) -> InputError:
    return InputError(f"'{name}' {why}. Leave it out, or divide it.")
