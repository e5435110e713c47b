"""Tests of reruns of failed batches: one by one after an error, in halves after an out-of-memory error."""

from pathlib import Path

import pytest
import torch
from tests.server.execution.poisoned_models import write_poisoned
from tests.server.execution.worker_harness import POISON, WorkerHarness

from linnaeus.server.errors import DeadlineExceeded, InternalFailure
from linnaeus.server.runtime.model import Ranking
from linnaeus.server.runtime.model_loading import LoadOptions, load_model


def test_an_image_at_fault_fails_alone_and_the_others_are_rerun(
    device: WorkerHarness, caplog: pytest.LogCaptureFixture
) -> None:
    for pixel in (1, POISON, 2):
        device.put(pixel)
    device.start()
    results = device.results()
    failure = results[POISON]
    assert isinstance(failure, InternalFailure)
    assert failure.reference in str(failure) and failure.reference in caplog.text
    assert results[1] == Ranking([0], [1.0]) and results[2] == Ranking([0], [0.5])
    assert device.fake.batches == [[1, POISON, 2], [1], [POISON], [2]]


# OpenVINO may answer an image whose Reshape cannot be done, when its request ran another shape before.
@pytest.mark.parametrize("runtime", ["torchscript", "onnxruntime"])
def test_in_a_runtime_that_raises_an_image_at_fault_fails_alone(
    device: WorkerHarness, tmp_path: Path, runtime: str
) -> None:
    folder = write_poisoned(tmp_path, runtime)
    device.fake = load_model(folder, torch.device("cpu"), 4, options=LoadOptions(runtime=runtime))
    for pixel in (51, POISON, 102):
        device.put(pixel)
    device.start()
    results = device.results()
    assert isinstance(results.pop(POISON), InternalFailure)
    assert {pixel: ranking.probabilities for pixel, ranking in results.items()} == {
        pixel: [pytest.approx(pixel / 255)] for pixel in (51, 102)
    }


def test_a_failing_image_alone_in_its_batch_is_not_rerun(device: WorkerHarness) -> None:
    device.put(POISON)
    device.start()
    assert isinstance(device.results()[POISON], InternalFailure)
    assert device.fake.batches == [[POISON]]


def test_a_cancelled_image_is_not_rerun(device: WorkerHarness) -> None:
    device.put(POISON), device.put(2)
    cancelled = device.put(3)
    device.fake.before = lambda: device.queue.cancel(cancelled) and None
    device.start()
    assert len(device.results()) == 3
    assert device.fake.batches == [[POISON, 2, 3], [POISON], [2]]


def test_an_image_past_its_deadline_is_not_rerun(device: WorkerHarness) -> None:
    device.put(2, timeout=5.0), device.put(POISON)

    def pass_the_deadline() -> None:
        device.now = 6.0

    device.fake.before = pass_the_deadline
    device.start()
    assert isinstance(device.results()[2], DeadlineExceeded)
    assert device.fake.batches == [[2, POISON], [POISON]]


def test_a_batch_too_large_for_the_memory_is_run_in_halves(device: WorkerHarness) -> None:
    device.fake.fits = 2
    for pixel in (1, 2, 4, 5):
        device.put(pixel)
    device.start()
    outcome = device.outcome()
    assert {item.ticket.payload.number: item.result for item in outcome.items} == {
        pixel: Ranking([0], [1.0 / pixel]) for pixel in (1, 2, 4, 5)
    }
    assert device.fake.batches == [[1, 2, 4, 5], [1, 2], [4, 5]]
    assert [item.batch_size for item in outcome.items] == [2] * 4


def test_halves_of_an_odd_batch_hold_every_image_once(device: WorkerHarness) -> None:
    device.fake.fits = 2
    for pixel in (1, 2, 4):
        device.put(pixel)
    device.start()
    assert len(device.results()) == 3
    assert device.fake.batches == [[1, 2, 4], [1, 2], [4]]


def test_a_half_that_is_too_large_fails_and_is_not_split_further(
    device: WorkerHarness, caplog: pytest.LogCaptureFixture
) -> None:
    device.fake.fits = 1
    for pixel in (1, 2, 4):
        device.put(pixel)
    device.start()
    results = device.results()
    assert device.fake.batches == [[1, 2, 4], [1, 2], [4]]
    assert results[4] == Ranking([0], [0.25])
    for pixel in (1, 2):
        failure = results[pixel]
        assert isinstance(failure, InternalFailure)
        assert str(failure).startswith("the device has too little memory left for model fake/1")
        assert failure.reference in str(failure) and failure.reference in caplog.text


def test_one_image_too_large_for_the_memory_fails_at_once(device: WorkerHarness) -> None:
    device.fake.fits = 0
    device.put(1)
    device.start()
    assert isinstance(device.results()[1], InternalFailure)
    assert device.fake.batches == [[1]]


def test_a_half_that_fails_for_another_reason_is_rerun_image_by_image(device: WorkerHarness) -> None:
    device.fake.fits = 2
    for pixel in (1, POISON, 2, 4):
        device.put(pixel)
    device.start()
    results = device.results()
    assert [pixel for pixel, result in results.items() if isinstance(result, InternalFailure)] == [POISON]
    assert device.fake.batches == [[1, POISON, 2, 4], [1, POISON], [1], [POISON], [2, 4]]


def test_halves_leave_out_late_and_cancelled_images(device: WorkerHarness) -> None:
    device.fake.fits = 3
    device.put(1, timeout=5.0), device.put(2), device.put(4)
    cancelled = device.put(5)

    def pass_the_deadline() -> None:
        device.now = 6.0
        device.queue.cancel(cancelled)

    device.fake.before = pass_the_deadline
    device.start()
    results = device.results()
    assert sorted(results) == [1, 2, 4, 5], "each image has one result"
    assert isinstance(results[1], DeadlineExceeded)
    assert device.fake.batches == [[1, 2, 4, 5], [2], [4]]
