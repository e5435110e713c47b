"""The trace tells what happened to every request and batch, in lines that any program reads."""

import errno
import io
import json
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


def test_nothing_is_written_after_close_and_closing_twice_is_no_fault(tmp_path: Path) -> None:
    event_log = FileEventLog(tmp_path / "trace")
    event_log.write("ended", 1.0)
    event_log.close()
    event_log.write("ended", 2.0)
    event_log.close()
    assert [line["at"] for line in lines(tmp_path / "trace")] == [1.0]


def test_an_earlier_runs_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "trace").write_text("old\n")
    event_log = FileEventLog(tmp_path / "trace")
    event_log.write("ended", 1.0)
    event_log.close()
    assert len(lines(tmp_path / "trace")) == 1


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StartupError) as refusal:
        open_event_log(str(tmp_path / "nowhere" / "trace"))
    assert str(refusal.value).startswith(f"trace is {tmp_path / 'nowhere' / 'trace'}, which cannot be written: ")
    assert "\n" not in str(refusal.value)


class FullDisk(io.StringIO):
    """A file that takes nothing; counts what it was to take."""

    tries = 0

    def write(self, text: str) -> int:
        self.tries += 1
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_never_reaches_whoever_writes() -> None:
    disk = FullDisk()
    path: Any = SimpleNamespace(open=lambda *_, **__: disk)
    event_log = FileEventLog(path)
    event_log.write("ended", 1.0)
    event_log.write("ended", 2.0)
    event_log.close()
    assert disk.tries == 2 and disk.closed


def test_without_a_path_nothing_is_noted() -> None:
    event_log = open_event_log("")
    assert isinstance(event_log, NullEventLog)
    event_log.write("ended", 1.0, request=1)
    event_log.close()
