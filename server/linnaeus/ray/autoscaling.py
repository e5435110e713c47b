"""How many replicas there should be, by how long images wait: Ray's `policy_function` is `QueueSecondsPolicy` here.

Pure: what replicas measured comes in, a number goes out. Ray applies delays, factors and bounds.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from linnaeus.ray.load_meter import Load

# A step at most doubles the replicas: what was measured says that there are too few, not how many are missing.
_LARGEST_STEP = 2.0
_TOLERATED_REFUSALS = 0.01


def wanted_replicas(loads: Sequence[Load], current: int, target_queue_seconds: float, target_busy: float) -> int:
    """Returns how many replicas there should be.

    More, if images wait for longer than the target on average, or more than one in a hundred is refused for load.
    Fewer, if they do not, and as few could do the work that is done now at `target_busy`.

    Args:
        loads: of the replicas that have told theirs.
        current: the number of replicas; at least 1.
        target_queue_seconds: how long an image may wait.
        target_busy: the share of time, from 0 to 1, that devices may run after replicas were taken away.
    """
    if not loads:
        return current
    waits = sum(each.queue_seconds for each in loads) / len(loads) / target_queue_seconds
    refused = max(each.refused for each in loads)
    pressure = _LARGEST_STEP if refused > _TOLERATED_REFUSALS else waits
    if pressure > 1.0:
        return ceil(current * min(pressure, _LARGEST_STEP))
    work = sum(each.busy for each in loads) / len(loads) * current
    return min(current, max(ceil(work / target_busy), 1))


class QueueSecondsPolicy:
    """The policy as Ray calls it.

    Args:
        target_queue_seconds: how long an image may wait on average.
        target_busy: the share of time, from 0 to 1, that devices may run after replicas were taken away.

    Raises:
        ValueError: if a target is out of its range.
    """

    def __init__(self, target_queue_seconds: float = 0.05, target_busy: float = 0.7) -> None:
        if not target_queue_seconds > 0 or not 0 < target_busy <= 1:
            raise ValueError(
                f"target_queue_seconds is {target_queue_seconds} and target_busy {target_busy}, but must be above 0, "
                "the second at most 1"
            )
        self._target_queue_seconds = target_queue_seconds
        self._target_busy = target_busy

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """Returns the wanted number of replicas; and no state."""
        loads = _loads(context.aggregated_metrics or {})
        current = max(context.current_num_replicas, 1)
        return wanted_replicas(loads, current, self._target_queue_seconds, self._target_busy), {}


def _loads(metrics: Mapping[str, Mapping[Any, float]]) -> list[Load]:
    """Returns the load of each replica that has told all of it."""
    figures = [metrics.get(name, {}) for name in ("queue_seconds", "refused", "busy")]
    replicas = set.intersection(*map(set, figures))
    return [Load(*(figure[replica] for figure in figures)) for replica in replicas]
