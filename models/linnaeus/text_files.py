"""Decodes the text files that people write and that server, zoo and client read: the only module that all three share.

It imports the standard library only. Text is UTF-8, with or without a byte order mark. A line ends with LF or CRLF and
with nothing else: str.splitlines would also split at U+0085, U+2028, U+2029, and at vertical tabs and form feeds.
"""

import codecs
import errno
from pathlib import Path

# Far above the largest label file, and little enough to be held twice.
MAX_TEXT_BYTES = 64 * 1024 * 1024

_ADVICE = {
    errno.EACCES: "; let this program's user have the right to it",
    errno.EISDIR: "; name a file in it",
    errno.ENOENT: "; correct the path",
    errno.ENOTDIR: "; correct the path",
    errno.EROFS: "; choose another path",
    errno.ENOSPC: "; make room",
}
_UTF_16_AND_32 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)


class TextFileError(ValueError):
    """A file is not text in UTF-8; the message begins with "it"."""


def read_text_file(path: Path) -> str:
    """Reads a file.

    Raises:
        TextFileError: if it has more than `MAX_TEXT_BYTES`, or is not UTF-8.
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(MAX_TEXT_BYTES + 1)
    if len(content) > MAX_TEXT_BYTES:
        raise TextFileError(f"it has more than {MAX_TEXT_BYTES} bytes")
    return decode_text(content)


def decode_text(content: bytes) -> str:
    """Decodes a file's content; a byte order mark is not part of the text.

    Raises:
        TextFileError: if it is not UTF-8, or holds NUL.
    """
    check_encoding(content)
    try:
        return without_mark(content).decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        wrong = f"byte 0x{content[error.start]:02x} in line {line}"
        raise TextFileError(f"it is not UTF-8 ({wrong}); save it as UTF-8") from None


def without_mark(content: bytes) -> bytes:
    """Returns the content without a leading byte order mark of UTF-8."""
    return content.removeprefix(codecs.BOM_UTF8)


def check_encoding(content: bytes) -> None:
    """Checks the beginning of a file, or all of it, for encodings that are not a superset of ASCII.

    Raises:
        TextFileError: if it is UTF-16 or UTF-32, or holds NUL, which is what both look like without their mark.
    """
    if content.startswith(_UTF_16_AND_32):
        raise TextFileError("it is UTF-16 or UTF-32, as Windows calls Unicode; save it as UTF-8")
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise TextFileError(f"it holds NUL in line {line}, which no text does; save it as UTF-8, not as UTF-16")


def reason_of(error: Exception) -> str:
    """Returns why a file or a socket cannot be used, in words: neither its path, nor a number, nor a class.

    Args:
        error: an OSError, or an error whose text is a sentence, such as `TextFileError`.
    """
    if not isinstance(error, OSError) or not error.strerror:
        return str(error) or "for an unknown reason"
    advice = _ADVICE.get(error.errno or 0, "")
    return error.strerror[0].lower() + error.strerror[1:] + advice


def lines_of(text: str) -> list[str]:
    """Splits text into lines without their ends; the end of the last line may be missing."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines if lines[-1] else lines[:-1]
