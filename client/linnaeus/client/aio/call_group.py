"""The calls of one `classify_many`; `sync/call_group.py` has the same names for threads."""

from typing import TypeVar

Method = TypeVar("Method")


class CallGroup:
    """Calls that are cancelled together. Each belongs to a task, and cancelling the task cancels its call."""

    def wrap(self, method: Method) -> Method:
        """Returns the method as it is."""
        return method
