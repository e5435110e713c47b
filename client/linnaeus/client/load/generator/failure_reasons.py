"""Why calls were not ok: counted by status code and sentence, with one sentence of each kind as a sample."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from linnaeus.client.load.generator.records import CallOutcome

# Sentences that differ only in numbers, such as waits or the identifiers of errors, are one kind.
_NUMBER = re.compile(r"\b[0-9a-f]*[0-9][0-9a-f]*\b")
# More kinds are counted under their code alone: a sentence that names a file must not fill the memory.
MAX_KINDS = 32
_MAX_SENTENCE_CHARACTERS = 500
_WITHOUT_STATUS = {
    CallOutcome.LATE: "the answer came after the deadline",
    CallOutcome.DIFFERED: "the answer is another one than before for the same image",
    CallOutcome.FAILED: "a corrupt image was answered as if it were intact",
}
_AS_WANTED = frozenset({CallOutcome.OK, CallOutcome.CANCELLED, CallOutcome.CORRUPT})

_Kind = tuple[int, str]


@dataclass(slots=True)
class FailureReasons:
    """Counts by kind; for one thread at a time.

    Attributes:
        counts: the number of calls by code and sentence, the numbers in the sentence replaced.
        samples: the first sentence of each kind, as it was.
    """

    counts: dict[_Kind, int] = field(default_factory=dict)
    samples: dict[_Kind, str] = field(default_factory=dict)

    def add(self, outcome: CallOutcome, code: int, sentence: str, picture: str) -> None:
        """Counts a call, unless its outcome is as it should be.

        Args:
            outcome: of the call.
            code: the number of the status code.
            sentence: of the status; may be empty.
            picture: the name of the picture; given with a sentence that may be about it.
        """
        if outcome in _AS_WANTED:
            return
        sentence = sentence or _WITHOUT_STATUS.get(outcome, "") if code == 0 else sentence
        about = f"{picture}: " if picture else ""
        self._count((code, _NUMBER.sub("0", sentence)), 1, about + sentence)

    def merge(self, other: "FailureReasons") -> None:
        """Adds the counts of another process."""
        for kind, calls in other.counts.items():
            self._count(kind, calls, other.samples[kind])

    def by_count(self) -> Iterator[tuple[int, int, str]]:
        """Yields code, count and sample, the most frequent first."""
        for kind in sorted(self.counts, key=lambda kind: (-self.counts[kind], kind)):
            yield kind[0], self.counts[kind], self.samples[kind]

    def _count(self, kind: _Kind, calls: int, sample: str) -> None:
        if kind not in self.counts and len(self.counts) >= MAX_KINDS:
            kind = (kind[0], "")
            sample = "other reasons"
        self.counts[kind] = self.counts.get(kind, 0) + calls
        self.samples.setdefault(kind, " ".join(sample.split())[:_MAX_SENTENCE_CHARACTERS])
