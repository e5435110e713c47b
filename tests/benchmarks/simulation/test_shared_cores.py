"""Batches share their cores at every moment, and calls and decoders go first."""

from functools import partial

import pytest

from benchmarks.simulation.calls import Call
from benchmarks.simulation.events import Events
from benchmarks.simulation.shared_cores import SharedCores
from linnaeus.server.scheduling import Batch


def new_batch(number: int) -> Batch[Call]:
    return Batch(number, "m", "device", [], [], 0, 0.0, 0.0)


def ends(
    begins: dict[float, float], taken: dict[float, float], cores: int = 2, stops: float | None = None
) -> list[float]:
    """Returns when the batches end that begin at these times and would take so long alone.

    Args:
        begins: seconds alone, by the time of the begin.
        taken: processor seconds that something else takes, by time.
        cores: of the machine.
        stops: when the first batch is stopped.
    """
    events, ended = Events(), dict[int, float]()
    shared = SharedCores(events, cores, lambda batch: ended.setdefault(batch.number, events.now))
    batches = [new_batch(number) for number in range(len(begins))]
    for batch, (moment, seconds) in zip(batches, begins.items(), strict=True):
        events.at(moment, partial(shared.run, batch, seconds))
    for moment, seconds in taken.items():
        events.at(moment, partial(shared.take, seconds))
    if stops is not None:
        events.at(stops, partial(shared.stop, batches[0]))
    events.run()
    return [ended[number] for number in sorted(ended)]


def test_a_batch_alone_takes_its_time() -> None:
    assert ends({1.0: 0.4}, {}) == pytest.approx([1.4])


def test_a_batch_that_begins_beside_another_slows_both() -> None:
    assert ends({0.0: 1.0, 0.5: 1.0}, {}) == pytest.approx([1.5, 2.0])


def test_what_others_take_delays_a_batch_by_its_part_of_the_cores() -> None:
    assert ends({0.0: 1.0}, {0.2: 0.1, 0.9: 0.3}) == pytest.approx([1.2])
    assert ends({0.0: 1.0}, {0.2: 0.1}, cores=1) == pytest.approx([1.1])


def test_what_was_taken_before_a_batch_began_does_not_delay_it() -> None:
    assert ends({1.0: 0.4}, {0.5: 5.0}) == pytest.approx([1.4])


def test_no_more_is_done_than_the_cores_can_however_much_overlaps() -> None:
    ended = ends({0.0: 1.0, 0.1: 0.5, 0.3: 0.7}, {0.2: 0.6, 0.4: 0.2, 1.0: 0.8})
    assert max(ended) == pytest.approx(1.0 + 0.5 + 0.7 + (0.6 + 0.2 + 0.8) / 2)


def test_a_batch_that_is_stopped_leaves_its_share_to_the_others() -> None:
    assert ends({0.0: 1.0, 0.5: 1.0}, {}, stops=1.0) == pytest.approx([1.75])
