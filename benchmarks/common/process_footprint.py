"""What a server holds on to in all of its processes: threads, open file descriptors and memory; they show leaks."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common.process_usage import memory_bytes, process_tree


@dataclass(frozen=True, slots=True)
class ProcessFootprint:
    """Threads, open file descriptors, and bytes of resident memory of a process and its descendants."""

    threads: int
    descriptors: int
    resident_bytes: int

    @classmethod
    def of(cls, root: int) -> "ProcessFootprint":
        """Reads it from /proc; of the memory, pages that the processes share count once."""
        threads = descriptors = 0
        for pid in process_tree(root):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                threads += int(_status(pid)["Threads"])
                descriptors += len(os.listdir(f"/proc/{pid}/fd"))
        return cls(threads, descriptors, memory_bytes(root))

    def __str__(self) -> str:
        return f"{self.threads} threads, {self.descriptors} descriptors, {self.resident_bytes / 1e6:.0f} MB"

    def memory_growth(self, before: "ProcessFootprint") -> float:
        """Returns the growth of resident memory since then, as a share."""
        return self.resident_bytes / before.resident_bytes - 1.0


def peak_bytes(root: int) -> int:
    """Returns the most bytes of memory that were resident since the start, or since `forget_peak`.

    It is what is resident now, pages that processes share once, and what each process had more of at its own peak: too
    much if they had theirs at different times.
    """
    statuses = [_status(pid) for pid in process_tree(root)]
    return memory_bytes(root) + sum(_bytes(each, "VmHWM") - _bytes(each, "VmRSS") for each in statuses)


def forget_peak(root: int) -> None:
    """Lets `peak_bytes` begin anew, for processes of the same user (proc(5), clear_refs)."""
    for pid in process_tree(root):
        Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def _bytes(status: dict[str, str], key: str) -> int:
    return 1024 * int(status[key].split()[0])


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
