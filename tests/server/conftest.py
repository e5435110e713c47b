"""What the server's tests share."""

from dataclasses import dataclass, field

import pytest

from linnaeus.server.requests.request import BatchReport


@dataclass
class RecordingObserver:
    """An observer that keeps what it hears."""

    batches: list[BatchReport] = field(default_factory=list)
    rejections: list[tuple[str, str]] = field(default_factory=list)
    cancellations: list[tuple[str, str]] = field(default_factory=list)
    load_failures: list[str] = field(default_factory=list)

    def batch(self, report: BatchReport) -> None:
        self.batches.append(report)

    def rejected(self, model: str, reason: str, version: int = 0, seconds: float = 0.0) -> None:
        self.rejections.append((model, reason))

    def cancelled(self, model: str, stage: str) -> None:
        self.cancellations.append((model, stage))

    def load_failed(self, model: str) -> None:
        self.load_failures.append(model)


@pytest.fixture
def observer() -> RecordingObserver:
    return RecordingObserver()
