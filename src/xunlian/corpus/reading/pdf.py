"""The text of PDF files, page by page (pypdf, which is pure Python; extra `web`)."""

from typing import IO

from xunlian.corpus.extras import need
from xunlian.errors import InputError


def read_pdf(file: IO[bytes], name: str) -> str:
    """The text of all pages, a blank line between them.

    A page that is a picture has none.

    Raises:
        InputError: pypdf is not installed; damaged, no PDF, or encrypted.
    """
    pypdf = need("pypdf", "web")
    try:
        reader = pypdf.PdfReader(file)
        if reader.is_encrypted and not reader.decrypt(""):
            raise InputError(f"'{name}' is encrypted. Save it without a password.")
        pages = [page.extract_text().strip() for page in reader.pages]
    except InputError:
        raise
    except Exception as error:  # pypdf meets broken files with errors of every kind
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"'{name}' is damaged or no PDF file ({reason}). Get the file again."
        ) from error
    return "\n\n".join(filter(None, pages))
