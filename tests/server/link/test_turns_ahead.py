"""Every decoder has its next turn before it asks for it, but none that waits behind a picture that takes long."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from linnaeus.server.link.remote_decoders import RemoteDecoders
from linnaeus.server.scheduling import DecodeTurn

DECODERS = 2


class FrontEnd:
    """Records the turns that it is given."""

    silent_ticks = 0

    def __init__(self) -> None:
        self.turns: list[int] = []

    def decode(self, turn: int, tickets: Any) -> None:
        self.turns.append(turn)


def decoders_with(turns: Iterator[DecodeTurn[Any]], front_end: Any) -> RemoteDecoders:
    queue = SimpleNamespace(next_to_decode_nowait=lambda: next(turns, None), end_turn=lambda turn: None)
    core: Any = SimpleNamespace(decoders=DECODERS, queue=queue)
    return RemoteDecoders(core, lambda ticket: front_end, lambda: None, lambda: 0.0)


def turn(is_long: bool = False) -> DecodeTurn[Any]:
    ticket: Any = object()
    return DecodeTurn([ticket], [], is_long)


async def test_each_decoder_has_one_turn_ahead_and_no_more() -> None:
    front_end: Any = FrontEnd()
    decoders = decoders_with((turn() for _ in range(9)), front_end)
    decoders.pump()
    assert len(front_end.turns) == 2 * DECODERS
    decoders.turn_ended(front_end.turns[0], front_end)
    decoders.pump()
    assert len(front_end.turns) == 2 * DECODERS + 1


@pytest.mark.parametrize("place", range(DECODERS))
async def test_nothing_waits_in_a_front_end_behind_a_picture_that_takes_long(place: int) -> None:
    front_end: Any = FrontEnd()
    decoders = decoders_with((turn(is_long=number == place) for number in range(9)), front_end)
    decoders.pump()
    assert len(front_end.turns) == DECODERS
    decoders.turn_ended(front_end.turns[place], front_end)
    decoders.pump()
    assert len(front_end.turns) == 2 * DECODERS + 1
