"""Tests of the event log's file."""

import errno
import io
import json
import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from linnaeus.server.errors import StartupError
from linnaeus.server.requests.event_log import FileEventLog, NullEventLog, open_event_log


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_each_event_is_one_line_of_json(tmp_path: Path) -> None:
    event_log = FileEventLog(tmp_path / "trace")
    event_log.write("admitted", 1.5, request=1, model='quo"te\nbreak', deadline=None)
    event_log.write("batch", 2.0, batch=1, requests=[1, 2])
    event_log.close()
    assert lines(tmp_path / "trace") == [
        {"event": "admitted", "at": 1.5, "request": 1, "model": 'quo"te\nbreak', "deadline": None},
        {"event": "batch", "at": 2.0, "batch": 1, "requests": [1, 2]},
    ]


def test_lines_of_several_threads_do_not_mix(tmp_path: Path) -> None:
    event_log = FileEventLog(tmp_path / "trace")

    def write(thread: int) -> None:
        for number in range(500):
            event_log.write("ended", 0.0, request=thread * 500 + number, outcome="x" * 50)

    threads = [threading.Thread(target=write, args=(each,)) for each in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    event_log.close()
    assert sorted(line["request"] for line in lines(tmp_path / "trace")) == list(range(2000))


def test_nothing_is_written_after_close_and_close_may_be_called_twice(tmp_path: Path) -> None:
    event_log = FileEventLog(tmp_path / "trace")
    event_log.write("ended", 1.0)
    event_log.close()
    event_log.write("ended", 2.0)
    event_log.close()
    assert [line["at"] for line in lines(tmp_path / "trace")] == [1.0]


def test_an_existing_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "trace").write_text("old\n")
    event_log = FileEventLog(tmp_path / "trace")
    event_log.write("ended", 1.0)
    event_log.close()
    assert len(lines(tmp_path / "trace")) == 1


def test_a_file_that_cannot_be_written_fails_the_start_with_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StartupError) as refusal:
        open_event_log(str(tmp_path / "nowhere" / "trace"))
    assert str(refusal.value).startswith(f"trace is {tmp_path / 'nowhere' / 'trace'}, which cannot be written: ")
    assert "\n" not in str(refusal.value)


class FillingDisk(io.RawIOBase):
    """A file on a disk with so many bytes free."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.content = b""

    def write(self, line: Any) -> int:
        written = bytes(line)[: self.free]
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.free -= len(written)
        self.content += written
        return len(written)


def test_a_full_disk_raises_no_error_and_is_logged_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    disk = FillingDisk(free=70)  # one line, and a part of the second
    path: Any = SimpleNamespace(open=lambda *_, **__: disk)
    event_log = FileEventLog(path)
    for number in range(4):
        event_log.write("ended", 1.0, request=number, outcome="answered")
    assert event_log.lost_lines == 3
    disk.free = 1000
    for number in range(4, 6):
        event_log.write("ended", 1.0, request=number, outcome="answered")
    event_log.close()
    whole = [json.loads(line)["request"] for line in disk.content.decode().splitlines() if line.endswith("}")]
    assert whole == [0, 4, 5] and disk.closed
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "loses lines: No space left on device" in messages[0]
    assert "is written again; it lost 3 lines in all" in messages[1]


def test_without_a_path_nothing_is_written() -> None:
    event_log = open_event_log("")
    assert isinstance(event_log, NullEventLog)
    event_log.write("ended", 1.0, request=1)
    event_log.close()
