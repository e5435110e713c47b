"""Tells a device that fails from a model that does: a model's fault shows on every device."""

import threading
from collections.abc import Hashable
from dataclasses import dataclass

# So many batches in a row that fail altogether, of a model that another device runs meanwhile, are no accident.
_MOST_IN_A_ROW = 3


@dataclass(slots=True)
class _FailureStreak:
    """How often a device failed at a lane since it last went well, and whether another device did it meanwhile."""

    length: int = 0
    done_elsewhere: bool = False


class DeviceHealth:
    """Counts batches that failed altogether. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streaks: dict[tuple[str, Hashable], _FailureStreak] = {}

    def record_success(self, device: str, lane: Hashable) -> None:
        """A batch of the lane went through on the device."""
        with self._lock:
            self._streaks.pop((device, lane), None)
            for (_, failed_lane), streak in self._streaks.items():
                streak.done_elsewhere |= failed_lane == lane

    def forget(self, lane: Hashable) -> None:
        """The lane is gone."""
        with self._lock:
            self._streaks = {key: streak for key, streak in self._streaks.items() if key[1] != lane}

    def record_failure(self, device: str, lane: Hashable) -> bool:
        """A batch of the lane failed altogether on the device; says whether the device is to blame."""
        with self._lock:
            streak = self._streaks.setdefault((device, lane), _FailureStreak())
            streak.length += 1
            return streak.length >= _MOST_IN_A_ROW and streak.done_elsewhere
