"""Text files are read as people write them: with a byte order mark, with CRLF, and in no encoding but UTF-8."""

from pathlib import Path

import pytest

from linnaeus import text_files
from linnaeus.text_files import TextFileError, decode_text, lines_of, read_text_file


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_a_line_ends_with_lf_or_crlf_and_a_byte_order_mark_is_no_part_of_it(mark: str, end: str, last: bool) -> None:
    lines = ["cat", "", "thé\u2028\u2029\x85\x0b\x0c\x1c", "dog"]
    content = (mark + end.join(lines) + (end if last else "")).encode()
    assert lines_of(decode_text(content)) == lines


def test_nothing_has_no_lines() -> None:
    assert lines_of("") == [] and lines_of("\n") == [""]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_what_windows_calls_unicode_is_refused_by_name(encoding: str) -> None:
    with pytest.raises(TextFileError, match="UTF-16.*UTF-8|UTF-8, not as UTF-16"):
        decode_text("cat\ndog\n".encode(encoding))


def test_bytes_that_are_not_utf_8_are_named_with_their_line() -> None:
    with pytest.raises(TextFileError, match=r"not UTF-8 \(byte 0xe9 in line 2\); save it as UTF-8"):
        decode_text("cat\nthé\n".encode("latin-1"))
    with pytest.raises(TextFileError, match="NUL in line 3"):
        decode_text(b"cat\ndog\nco\0w\n")


def test_a_folder_and_an_endless_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(IsADirectoryError):
        read_text_file(tmp_path)
    monkeypatch.setattr(text_files, "MAX_TEXT_BYTES", 10)
    (tmp_path / "long").write_bytes(b"a" * 11)
    with pytest.raises(TextFileError, match="more than 10 bytes"):
        read_text_file(tmp_path / "long")
    with pytest.raises(FileNotFoundError):
        read_text_file(tmp_path / "missing")
