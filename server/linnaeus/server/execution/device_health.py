"""Decides whether failed batches are the fault of the device or of the model: a model's fault shows on every device."""

import threading
from collections.abc import Hashable
from dataclasses import dataclass

# A device is at fault after this many failed batches in a row of a lane, if another device runs that lane meanwhile.
_FAILURES_TO_BLAME_DEVICE = 3


@dataclass(slots=True)
class _FailureStreak:
    """The failed batches in a row of one lane on one device, and whether another device succeeded meanwhile."""

    length: int = 0
    succeeded_elsewhere: bool = False


class DeviceHealth:
    """A count of failed batches for each device and lane. Any thread may call it.

    A batch counts as failed if none of its images got a ranking.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streaks: dict[tuple[str, Hashable], _FailureStreak] = {}

    def record_success(self, device: str, lane: Hashable) -> None:
        """Records a batch of the lane that succeeded on the device."""
        with self._lock:
            self._streaks.pop((device, lane), None)
            for (_, failed_lane), streak in self._streaks.items():
                streak.succeeded_elsewhere |= failed_lane == lane

    def forget(self, lane: Hashable) -> None:
        """Drops the counts of a lane that was removed."""
        with self._lock:
            self._streaks = {key: streak for key, streak in self._streaks.items() if key[1] != lane}

    def record_failure(self, device: str, lane: Hashable) -> bool:
        """Records a failed batch of the lane on the device; returns whether the device is at fault."""
        with self._lock:
            streak = self._streaks.setdefault((device, lane), _FailureStreak())
            streak.length += 1
            return streak.length >= _FAILURES_TO_BLAME_DEVICE and streak.succeeded_elsewhere
