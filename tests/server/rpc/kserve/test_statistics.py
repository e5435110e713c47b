"""The figures that clients are told: every image once, every batch once, and times that add up."""

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.requests.observer import Observers
from linnaeus.server.requests.request import BatchReport, RequestTimings
from linnaeus.server.rpc.kserve.statistics import Statistics

LANE = ("lenet", 3)


def request(decode: float, queue: float, respond: float = 0.25) -> RequestTimings:
    """Times are binary fractions, so that sums are exact."""
    return RequestTimings(decode, queue, 0.5, respond, decode + queue + 0.5 + respond, 0.0)


def pair(duration: kserve.StatisticDuration) -> tuple[int, float]:
    return duration.count, duration.ns / 1e9


def told(*reports: BatchReport) -> kserve.ModelStatistics:
    statistics = Statistics(clock=lambda: 1234.5)
    for report in reports:
        statistics.batch(report)
    return statistics.of(*LANE, "lenet.pixels")


def test_every_image_counts_once_and_every_batch_once() -> None:
    one = BatchReport(*LANE, 1, [request(1.0, 2.0)], 0, "cpu", 0.5)
    two = BatchReport(*LANE, 2, [request(1.0, 4.0), request(3.0, 0.0)], 0, "cpu", 0.5)
    stats = told(one, two, two)
    assert (stats.name, stats.version) == ("lenet.pixels", "3")
    assert (stats.inference_count, stats.execution_count, stats.last_inference) == (5, 3, 1234500)
    assert [each.batch_size for each in stats.batch_stats] == [1, 2]
    assert pair(stats.batch_stats[0].compute_infer) == (1, 0.5)
    assert pair(stats.batch_stats[1].compute_infer) == (2, 1.0)
    assert pair(stats.batch_stats[1].compute_input) == (2, 8.0)
    assert pair(stats.batch_stats[1].compute_output) == (2, 0.5)


def test_the_stages_of_the_answered_add_up_to_their_whole_time() -> None:
    stats = told(BatchReport(*LANE, 2, [request(1.0, 4.0), request(3.0, 0.0)], 0, "cpu", 0.5)).inference_stats
    assert pair(stats.success) == (2, 9.5)
    stages = (stats.queue, stats.compute_input, stats.compute_infer, stats.compute_output)
    assert [pair(stage) for stage in stages] == [(2, 4.0), (2, 4.0), (2, 1.0), (2, 0.5)]
    assert sum(stage.ns for stage in stages) == stats.success.ns


def test_a_batch_whose_callers_all_left_was_run_but_answered_nobody() -> None:
    stats = told(BatchReport(*LANE, 4, [], 0, "cpu", 0.5))
    assert (stats.inference_count, stats.execution_count, stats.last_inference) == (0, 1, 0)
    assert pair(stats.batch_stats[0].compute_infer) == (1, 0.5)


def test_a_batch_of_which_all_were_late_was_not_run() -> None:
    stats = told(BatchReport(*LANE, 0, [], 0, "cpu", 0.0))
    assert stats.execution_count == 0 and not stats.batch_stats


def test_a_refusal_counts_for_the_version_that_was_asked_for() -> None:
    statistics = Statistics()
    statistics.rejected("lenet", "invalid_image", 3, 0.25)
    statistics.rejected("lenet", "deadline", 4, 1.0)
    statistics.rejected("", "not_found")
    assert pair(statistics.of(*LANE, "lenet").inference_stats.fail) == (1, 0.25)
    assert pair(statistics.of(*LANE, "lenet").inference_stats.success) == (0, 0.0)


def test_of_a_version_that_nobody_asked_nothing_is_told() -> None:
    assert told() == kserve.ModelStatistics(name="lenet.pixels", version="3")


def test_several_observers_hear_the_same() -> None:
    first, second = Statistics(clock=lambda: 0.0), Statistics(clock=lambda: 0.0)
    both = Observers(first, second)
    both.batch(BatchReport(*LANE, 1, [request(1.0, 2.0)], 0, "cpu", 0.5))
    both.rejected("lenet", "deadline", 3, 1.0)
    both.cancelled("lenet", "waiting")
    assert first.of(*LANE, "") == second.of(*LANE, "")
    assert first.of(*LANE, "").inference_count == 1 and pair(first.of(*LANE, "").inference_stats.fail) == (1, 1.0)
