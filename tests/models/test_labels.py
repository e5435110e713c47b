"""Label files are read line by line."""

from pathlib import Path

import pytest

from linnaeus.models.labels import read_label_file


def test_labels_are_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("\ufeffcat\r\nchien\u00e9 \n\n", encoding="utf-8")
    assert read_label_file(path) == ("cat", "chien\u00e9")
    for content, message in ((b"\n", "no labels in"), (b"a\n\nb", "line 2 is empty"), (b"\xff", "not UTF-8")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_label_file(path)
