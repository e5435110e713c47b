"""The setting `front_ends`: the number of processes that answer calls."""

from typing import Annotated

from pydantic import AfterValidator

from linnaeus.server.config.shown_value import shown

AUTO = "auto"
_MAX_FRONT_ENDS = 256
# More gain nothing: the engine's one interpreter gives work to as many.
_MAX_AUTOMATIC = 16


def _checked(chosen: int | str) -> int | str:
    if chosen == AUTO or (isinstance(chosen, int) and 0 <= chosen <= _MAX_FRONT_ENDS):
        return chosen
    raise ValueError(f"front_ends is {shown(chosen)}, but must be auto or a number from 0 to {_MAX_FRONT_ENDS}")


FrontEnds = Annotated[int | str, AfterValidator(_checked)]


def automatic_front_ends(cores: int, has_socket_file: bool) -> int:
    """Returns how many front ends `auto` stands for: half as many as cores, since the models need the others.

    Args:
        cores: the cores that the server may use.
        has_socket_file: whether gRPC listens on a socket file, which only one process can.
    """
    return 1 if has_socket_file else min(max(cores // 2, 1), _MAX_AUTOMATIC)
