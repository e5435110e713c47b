"""Why no calls should be sent to a front end, for the probe /readyz of the HTTP port."""

from collections.abc import Callable


class FrontEndReadiness:
    """What a front end sees of itself, and what only its supervisor sees: an engine that is there and stands still.

    The metrics port calls the server ready as long as one front end is. The HTTP port speaks for the front end that got
    the connection, on which the caller would send its next call, and that would fail. Both say the same when all front
    ends are alike, which they are but for the moments in which one of them starts or finds the engine again.

    Belongs to the event loop's thread.

    Args:
        own_reason: returns why the front end itself is not ready, in a sentence; empty if it is.

    Attributes:
        engine_reason: why the engine does not answer although it is connected; empty if it does.
    """

    def __init__(self, own_reason: Callable[[], str]) -> None:
        self._own_reason = own_reason
        self.engine_reason = ""

    def unready_reason(self) -> str:
        """Returns why calls should go elsewhere, in a sentence; empty if they should not."""
        return self._own_reason() or self.engine_reason
