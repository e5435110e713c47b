"""Tells a device that fails from a model that does: a model's fault shows on every device."""

import threading
from collections.abc import Hashable
from dataclasses import dataclass

# So many batches in a row that fail altogether, of a model that another device runs meanwhile, are no accident.
_MOST_IN_A_ROW = 3


@dataclass(slots=True)
class _Row:
    """How often a device failed at a lane since it last went well, and whether another device did it meanwhile."""

    length: int = 0
    done_elsewhere: bool = False


class FailureCount:
    """Counts batches that failed altogether. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[tuple[str, Hashable], _Row] = {}

    def went_well(self, device: str, lane: Hashable) -> None:
        """A batch of the lane went through on the device."""
        with self._lock:
            self._rows.pop((device, lane), None)
            for (_, failed_lane), row in self._rows.items():
                row.done_elsewhere |= failed_lane == lane

    def forget(self, lane: Hashable) -> None:
        """The lane is gone."""
        with self._lock:
            self._rows = {key: row for key, row in self._rows.items() if key[1] != lane}

    def failed(self, device: str, lane: Hashable) -> bool:
        """A batch of the lane failed altogether on the device; says whether the device is to blame."""
        with self._lock:
            row = self._rows.setdefault((device, lane), _Row())
            row.length += 1
            return row.length >= _MOST_IN_A_ROW and row.done_elsewhere
