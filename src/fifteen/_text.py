"""Text to print."""

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


def counted(number: int, noun: str) -> str:
    """Write how many there are of something: `1 file`, `1,000 files`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def message_of(message: object) -> str:
    """Return the text of a message or an error, without the number of an operating system's."""
    if isinstance(message, OSError) and message.filename is not None:
        return f"{message.filename}: {message.strerror}"
    return str(message)
