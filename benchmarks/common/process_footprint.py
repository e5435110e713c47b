"""What a process holds on to: threads, open file descriptors and memory; they show leaks."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessFootprint:
    """Threads, open file descriptors, and bytes of resident memory of a process."""

    threads: int
    descriptors: int
    resident_bytes: int

    @classmethod
    def of(cls, pid: int) -> "ProcessFootprint":
        """Reads it from /proc."""
        status = _status(pid)
        resident = 1024 * int(status["VmRSS"].split()[0])
        return cls(int(status["Threads"]), len(os.listdir(f"/proc/{pid}/fd")), resident)

    def __str__(self) -> str:
        return f"{self.threads} threads, {self.descriptors} descriptors, {self.resident_bytes / 1e6:.0f} MB"

    def memory_growth(self, before: "ProcessFootprint") -> float:
        """Returns the growth of resident memory since then, as a share."""
        return self.resident_bytes / before.resident_bytes - 1.0


def peak_bytes(pid: int) -> int:
    """Returns the most bytes of memory that were resident since the process started, or since `forget_peak`."""
    return 1024 * int(_status(pid)["VmHWM"].split()[0])


def forget_peak(pid: int) -> None:
    """Lets `peak_bytes` begin anew, for a process of the same user (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return dict(line.split(":", 1) for line in lines)
