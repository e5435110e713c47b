"""Decodes many mutated images in child processes and sums up: crashes, hangs, wrong errors, processor time, memory.

`make fuzz-images COUNT=100000 SEED=1`; a mutant that fails is written to runs/fuzz, named by its seed and number.
"""

import argparse
import json
import queue
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.mutator import mutant
from tests.fuzz.seeds import seeds

ROOT = Path(__file__).resolve().parents[2]
HANG_SECONDS = 60.0  # of wall time for one mutant, on a machine that does other work


@dataclass
class Summary:
    """What came of the mutants.

    Attributes:
        outcomes: number of mutants by outcome.
        failures: what must not be, by the mutant's number.
        most_seconds: greatest processor time of a mutant.
        largest_share: greatest processor time of a mutant, as a share of what it may take.
        megabytes: memory of the last child after each mutant.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)
    most_seconds: float = 0.0
    largest_share: float = 0.0
    megabytes: list[int] = field(default_factory=list)

    def add(self, result: dict[str, object]) -> None:
        """Adds one line of a child."""
        number, seconds, allowed = (
            int(str(result["ends"])),
            float(str(result["seconds"])),
            float(str(result["allowed"])),
        )
        outcome = str(result["outcome"])
        self.outcomes[outcome if outcome in ("decoded", "refused") else "error"] += 1
        if outcome not in ("decoded", "refused"):
            self.failures[number] = outcome
        elif seconds > allowed:
            self.failures[number] = f"slow: {seconds:.3f} s for {result['bytes']} bytes, allowed {allowed:.3f}"
        self.most_seconds = max(self.most_seconds, seconds)
        self.largest_share = max(self.largest_share, seconds / allowed)
        self.megabytes.append(int(str(result["megabytes"])))

    @property
    def growth_megabytes(self) -> int:
        """Memory at the end above that after a tenth of the last child's mutants."""
        return self.megabytes[-1] - self.megabytes[len(self.megabytes) // 10] if self.megabytes else 0

    def text(self) -> str:
        """Returns the summary as lines of text."""
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.outcomes.items()))
        lines = [f"{self.outcomes.total()} mutants ended: {counts}; {len(self.failures)} failures"]
        lines.append(f"most processor time {self.most_seconds:.3f} s, {self.largest_share:.2f} of what is allowed")
        lines.append(f"memory at the end {self.growth_megabytes:+d} MB against a tenth of the way")
        return "\n".join([*lines, *(f"  mutant {number}: {text}" for number, text in sorted(self.failures.items()))])


def fuzz(seed: int, count: int, start: int = 0, hang_seconds: float = HANG_SECONDS) -> Summary:
    """Decodes mutants `start` to `start + count` of a seed; goes on after each that ends or stops a child."""
    summary, stop = Summary(), start + count
    while start < stop:
        summary.megabytes.clear()
        last, ending = _run_child(summary, seed, start, stop, hang_seconds)
        if ending:
            summary.failures[last] = ending
        start = last + 1
    return summary


def _run_child(summary: Summary, seed: int, start: int, stop: int, hang_seconds: float) -> tuple[int, str]:
    """Returns the last mutant that the child began, and what is wrong with it, if anything is."""
    command = [sys.executable, "-m", "tests.fuzz.child", str(seed), str(start), str(stop)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        lines: queue.Queue[str] = queue.Queue()
        reader = threading.Thread(target=_read_lines, args=(child, lines), daemon=True)
        reader.start()
        last, hangs = start, False
        try:
            while line := lines.get(timeout=hang_seconds):
                result = json.loads(line)
                last = result.get("begins", last)
                if "ends" in result:
                    summary.add(result)
        except queue.Empty:
            hangs = True
            child.kill()
        reader.join()
    if hangs:
        return last, f"hang: no answer in {hang_seconds:.0f} s"
    return (stop - 1, "") if child.returncode == 0 else (last, f"crash: exit status {child.returncode}")


def _read_lines(child: "subprocess.Popen[str]", lines: "queue.Queue[str]") -> None:
    if child.stdout is not None:
        for line in child.stdout:
            lines.put(line)
    lines.put("")


def main() -> int:
    """Runs the fuzzer as its arguments say; returns 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", type=int, default=0)
    options = parser.parse_args()
    summary = fuzz(options.seed, options.count, options.start)
    print(summary.text())
    for number in summary.failures:
        path = ROOT / "runs" / "fuzz" / f"{options.seed}-{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(mutant(seeds(), options.seed, number))
    return 1 if summary.failures else 0


if __name__ == "__main__":
    sys.exit(main())
