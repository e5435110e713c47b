"""Forms of files (multipart/form-data, RFC 7578) whose body is in memory.

python-multipart, which Starlette uses, is made for bodies that come in pieces: it takes a form that was cut off for a
whole one, loses its last file without a word, and logs a warning for each malformed one.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from linnaeus.server.errors import InvalidArgument

_MAX_HEADER_BYTES = 4 * 1024
_MAX_BOUNDARY = 70  # RFC 2046
# A parameter of a header: its name, and its value with or without quotes.
_PARAMETER = re.compile(r';[ \t]*([A-Za-z0-9_*-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))')
_DISPOSITION = re.compile(r"^content-disposition:[ \t]*form-data[ \t]*(;.*)?$", re.IGNORECASE | re.MULTILINE)
_ESCAPED = re.compile(r'\\(["\\])')
_ADVICE = "send each picture as a file (curl -F image=@cat.jpg)"


@dataclass(frozen=True, slots=True)
class FormFile:
    """A file of a form.

    Attributes:
        name: its file name, as the sender gave it: text, and never a path of this machine.
        content: its bytes.
    """

    name: str
    content: bytes


def files_of_form(content_type: str, body: bytes, max_files: int) -> list[FormFile]:
    """Returns the files of a form, in their order. Fields that are no files are left out.

    Args:
        content_type: the header of the request, which has the boundary.
        body: the form.
        max_files: the parts that the form may have at most.

    Raises:
        InvalidArgument: if it is no whole form, has no file or too many parts.
    """
    files = list[FormFile]()
    for number, part in enumerate(_parts(_boundary(content_type), body), 1):
        if number > max_files:
            raise InvalidArgument("images", f"the form has more than {max_files} parts; send fewer at once")
        if (file := _file(part, number)) is not None:
            files.append(file)
    if not files:
        raise InvalidArgument("images", f"the form has no file; {_ADVICE}")
    return files


def _boundary(content_type: str) -> bytes:
    boundary = _parameters(content_type).get("boundary", "")
    if not 0 < len(boundary) <= _MAX_BOUNDARY or not boundary.isascii():
        raise _malformed("its content-type has no valid boundary")
    return boundary.encode()


def _parts(boundary: bytes, body: bytes) -> Iterator[bytes]:
    """Yields what stands between the delimiters: headers, an empty line, content."""
    delimiter = b"\r\n--" + boundary
    begin = 0 if body.startswith(delimiter[2:]) else body.find(delimiter) + 2
    if begin == 1:
        raise _malformed("its boundary is not in the body")
    begin += len(delimiter) - 2
    while body[begin : begin + 2] != b"--":
        end = body.find(delimiter, begin)
        if end < 0:
            raise _malformed("it ends early")
        line_end = body.find(b"\r\n", begin, end + 2)
        if body[begin:line_end].strip(b" \t"):
            raise _malformed("a boundary is followed by something else")
        yield body[line_end + 2 : end] if line_end < end else b""
        begin = end + len(delimiter)


def _file(part: bytes, number: int) -> FormFile | None:
    """Returns the file of a part; None if the part is none."""
    if not part or part.startswith(b"\r\n"):
        raise _malformed(f"part {number} has no content-disposition")
    head_end = part.find(b"\r\n\r\n", 0, _MAX_HEADER_BYTES)
    if head_end < 0:
        raise _malformed(f"the headers of part {number} do not end within {_MAX_HEADER_BYTES} bytes")
    disposition = _DISPOSITION.search(part[:head_end].decode("utf-8", "replace").replace("\r\n", "\n"))
    if disposition is None:
        raise _malformed(f"part {number} has no content-disposition of form-data")
    parameters = _parameters(disposition[1] or "")
    name = parameters.get("filename")
    if name is None and "filename*" in parameters:  # as old releases of urllib3 write names that are not ASCII
        name = unquote(parameters["filename*"].rpartition("'")[2])
    return None if name is None else FormFile(name, part[head_end + 4 :])


def _parameters(header: str) -> dict[str, str]:
    """Returns the parameters of a header by their names in lower case; of equal ones the first."""
    found = dict[str, str]()
    for name, quoted, bare in _PARAMETER.findall(header):
        found.setdefault(name.lower(), _ESCAPED.sub(r"\1", quoted) or bare)
    return found


def _malformed(why: str) -> InvalidArgument:
    return InvalidArgument("body", f"the body is no valid multipart form: {why}; {_ADVICE}")
