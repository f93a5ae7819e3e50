"""Text that is safe to print."""

import unicodedata


def printable(text: str) -> str:
    """Escape characters that are invisible or that could control a terminal."""
    if text.isprintable():
        return text
    return "".join(
        letter
        if letter.isprintable() or unicodedata.category(letter) == "Zs"
        else repr(letter)[1:-1]
        for letter in text
    )


def encodable(text: str) -> str:
    """Escape what UTF-8 cannot encode: bytes of a file's name that are not text."""
    return text.encode(errors="backslashreplace").decode()
