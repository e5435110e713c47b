"""A list of file names, one a line, that is read piece by piece. Opens nothing.

Names are bytes to the system, so they need not be UTF-8. Of the encodings of text, only those are refused that would
spoil every name.
"""

import os
from collections.abc import Iterator

from linnaeus.text_files import TextFileError, check_encoding, without_mark

# Sixteen times the longest path that Linux opens; a longer line is no name, and would be held in memory.
_MAX_NAME_BYTES = 65_536


class NameList:
    """The names in a list whose pieces come one after another; blank lines are skipped.

    A line ends with LF or CRLF; a byte order mark before the first is no part of it.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._has_begun = False

    def read(self, piece: bytes) -> Iterator[str]:
        """Yields the names whose lines end within the next piece.

        Raises:
            TextFileError: if the list is UTF-16 or holds NUL, or a line is longer than any name.
        """
        if b"\0" in piece:
            raise TextFileError("it holds NUL, as UTF-16 and find -print0 have it; write one path a line in UTF-8")
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > _MAX_NAME_BYTES:
            raise TextFileError(f"it has a line of more than {_MAX_NAME_BYTES} bytes; write one path a line")
        yield from filter(None, map(self._name, lines))

    def end(self) -> Iterator[str]:
        """Yields the name in the last line, if that has no end.

        Raises:
            TextFileError: as `read`.
        """
        yield from filter(None, [self._name(self._rest)])

    def _name(self, line: bytes) -> str:
        if not self._has_begun:
            self._has_begun = True
            check_encoding(line)
            line = without_mark(line)
        return os.fsdecode(line.rstrip(b"\r\n"))
