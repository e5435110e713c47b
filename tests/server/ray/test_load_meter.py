"""A replica's load is that of its last seconds."""

from linnaeus.ray.load_meter import Load, LoadMeter
from linnaeus.server.requests.request import BatchReport, RequestTimings


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def report(queue_seconds: list[float], inference_seconds: float) -> BatchReport:
    timings = [RequestTimings(0.0, each, inference_seconds, 0.0, 0.0, None) for each in queue_seconds]
    return BatchReport("lenet", 1, len(timings), timings, 0, "cpu", inference_seconds)


def test_the_load_is_of_answered_and_refused_images_and_of_the_devices_time() -> None:
    clock = Clock()
    meter = LoadMeter(lambda: 2, clock)
    clock.now += 5.0
    meter.batch(report([0.1, 0.3], 2.0))
    meter.batch(report([0.2], 3.0))
    meter.rejected("lenet", "deadline")
    meter.rejected("lenet", "invalid_image")
    load = meter.load()
    assert (round(load.queue_seconds, 9), load.refused, load.busy) == (0.2, 0.25, 0.5)


def test_what_is_long_ago_is_forgotten() -> None:
    clock = Clock()
    meter = LoadMeter(lambda: 1, clock)
    meter.batch(report([1.0], 1.0))
    meter.rejected("lenet", "queue_full")
    clock.now += 6.0
    assert meter.load() == Load(0.0, 0.0, 0.0)


def test_a_replica_that_has_just_started_is_not_taken_for_busy() -> None:
    clock = Clock()
    meter = LoadMeter(lambda: 1, clock)
    clock.now += 0.1
    meter.batch(report([0.0], 0.1))
    assert meter.load().busy == 0.1
