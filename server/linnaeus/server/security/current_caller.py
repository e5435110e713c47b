"""The caller of the current call: who it is, and the highest priority that it may claim.

A context variable, set once the call is authorized. A call runs in tasks of its own, which inherit the variable.
"""

from contextvars import ContextVar
from dataclasses import dataclass

from linnaeus.server.scheduling import Priority


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a call.

    Attributes:
        identity: the name under which it is charged: of its token, its certificate or its address.
        name: under which it shares devices and decoders with others: the identity, or the connection of an address.
        max_priority: the highest priority of its requests; higher claims are lowered to it.
    """

    identity: str
    name: str
    max_priority: Priority = Priority.HIGH

    def capped(self, claimed: Priority) -> Priority:
        """Returns the priority that a request gets."""
        return max(claimed, self.max_priority)  # smaller values go first


_NO_CALL = Caller("", "")
_CURRENT: ContextVar[Caller] = ContextVar("caller", default=_NO_CALL)


def current_caller() -> Caller:
    """Returns the caller of the current call; outside of calls, one that may claim every priority."""
    return _CURRENT.get()


def set_current_caller(caller: Caller) -> None:
    """Sets the caller for the current task and those that it creates."""
    _CURRENT.set(caller)
