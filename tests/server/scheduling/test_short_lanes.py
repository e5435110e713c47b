"""When the thread that runs lanes of short runs by itself has work."""

from builders import FakeClock, put

from linnaeus.server.scheduling import BatchQueue, LaneLimits, LatencyTable


def queue_of_short_runs(delay_seconds: float = 0.0) -> tuple[BatchQueue[str], FakeClock]:
    clock = FakeClock()
    queue: BatchQueue[str] = BatchQueue(clock, 1, runs_short_apart=True)
    queue.add_device("d", 2)
    limits = LaneLimits(2, 100, delay_seconds, is_short=True)
    queue.open_lane("a", limits, {"d": LatencyTable({1: 0.001, 2: 0.001})})
    return queue, clock


def test_what_waits_is_work_at_once_until_it_is_taken() -> None:
    queue, _ = queue_of_short_runs()
    assert queue.seconds_until_work() is None
    put(queue, "1")
    assert queue.seconds_until_work() == 0.0
    batch = queue.take_short("d")
    assert batch is not None and queue.seconds_until_work() is None


def test_a_batch_that_waits_for_more_images_is_work_at_once_for_a_queue_that_drains() -> None:
    queue, _ = queue_of_short_runs(delay_seconds=600.0)
    put(queue, "1")
    assert queue.seconds_until_work() == 600.0
    queue.drain()
    assert queue.seconds_until_work() == 0.0
    assert queue.take_short("d") is not None
