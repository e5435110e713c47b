"""The inference statistics: every image and every batch is counted once, and the times add up."""

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.requests.observer import Observers
from linnaeus.server.requests.request import BatchReport, RequestTimings
from linnaeus.server.rpc.kserve.statistics import Statistics

LANE = ("lenet", 3)


def request(decode: float, queue: float, respond: float = 0.25) -> RequestTimings:
    """Returns timings; they are binary fractions, so that sums are exact."""
    return RequestTimings(decode, queue, 0.5, respond, decode + queue + 0.5 + respond, 0.0)


def count_and_seconds(duration: kserve.StatisticDuration) -> tuple[int, float]:
    return duration.count, duration.ns / 1e9


def statistics_of(*reports: BatchReport) -> kserve.ModelStatistics:
    statistics = Statistics(clock=lambda: 1234.5)
    for report in reports:
        statistics.batch(report)
    return statistics.of(*LANE, "lenet.pixels")


def test_every_image_and_every_batch_is_counted_once() -> None:
    one = BatchReport(*LANE, 1, [request(1.0, 2.0)], 0, "cpu", 0.5)
    two = BatchReport(*LANE, 2, [request(1.0, 4.0), request(3.0, 0.0)], 0, "cpu", 0.5)
    stats = statistics_of(one, two, two)
    assert (stats.name, stats.version) == ("lenet.pixels", "3")
    assert (stats.inference_count, stats.execution_count, stats.last_inference) == (5, 3, 1234500)
    assert [each.batch_size for each in stats.batch_stats] == [1, 2]
    assert count_and_seconds(stats.batch_stats[0].compute_infer) == (1, 0.5)
    assert count_and_seconds(stats.batch_stats[1].compute_infer) == (2, 1.0)
    assert count_and_seconds(stats.batch_stats[1].compute_input) == (2, 8.0)
    assert count_and_seconds(stats.batch_stats[1].compute_output) == (2, 0.5)


def test_the_stages_of_answered_requests_add_up_to_their_total_time() -> None:
    stats = statistics_of(BatchReport(*LANE, 2, [request(1.0, 4.0), request(3.0, 0.0)], 0, "cpu", 0.5)).inference_stats
    assert count_and_seconds(stats.success) == (2, 9.5)
    stages = (stats.queue, stats.compute_input, stats.compute_infer, stats.compute_output)
    assert [count_and_seconds(stage) for stage in stages] == [(2, 4.0), (2, 4.0), (2, 1.0), (2, 0.5)]
    assert sum(stage.ns for stage in stages) == stats.success.ns


def test_a_batch_whose_requests_were_all_cancelled_counts_as_an_execution_only() -> None:
    stats = statistics_of(BatchReport(*LANE, 4, [], 0, "cpu", 0.5))
    assert (stats.inference_count, stats.execution_count, stats.last_inference) == (0, 1, 0)
    assert count_and_seconds(stats.batch_stats[0].compute_infer) == (1, 0.5)


def test_a_batch_whose_requests_all_expired_is_not_an_execution() -> None:
    stats = statistics_of(BatchReport(*LANE, 0, [], 0, "cpu", 0.0))
    assert stats.execution_count == 0 and not stats.batch_stats


def test_a_refusal_is_counted_for_the_requested_version() -> None:
    statistics = Statistics()
    statistics.rejected("lenet", "invalid_image", 3, 0.25)
    statistics.rejected("lenet", "deadline", 4, 1.0)
    statistics.rejected("", "not_found")
    assert count_and_seconds(statistics.of(*LANE, "lenet").inference_stats.fail) == (1, 0.25)
    assert count_and_seconds(statistics.of(*LANE, "lenet").inference_stats.success) == (0, 0.0)


def test_a_version_without_requests_has_every_duration_and_each_is_0() -> None:
    stats = statistics_of()
    present = [field.name for field, _ in stats.inference_stats.ListFields()]
    assert present == list(kserve.InferStatistics.DESCRIPTOR.fields_by_name)
    assert not any(duration.count or duration.ns for _, duration in stats.inference_stats.ListFields())
    stats.ClearField("inference_stats")
    assert stats == kserve.ModelStatistics(name="lenet.pixels", version="3")


def test_observers_pass_each_event_to_every_observer() -> None:
    first, second = Statistics(clock=lambda: 0.0), Statistics(clock=lambda: 0.0)
    both = Observers(first, second)
    both.batch(BatchReport(*LANE, 1, [request(1.0, 2.0)], 0, "cpu", 0.5))
    both.rejected("lenet", "deadline", 3, 1.0)
    both.cancelled("lenet", "waiting")
    assert first.of(*LANE, "") == second.of(*LANE, "")
    assert first.of(*LANE, "").inference_count == 1
    assert count_and_seconds(first.of(*LANE, "").inference_stats.fail) == (1, 1.0)
