"""What decoding is expected to take, before and after measurements."""

import pytest

from linnaeus.server.scheduling.decode_costs import DecodeCosts, DecodeWork

SMALL_PNG, BMP, BOMB = DecodeWork("PNG", 784), DecodeWork("BMP", 4_700_000), DecodeWork("WEBP lossless", 49_968_150)


def test_without_measurements_the_cost_is_proportional_to_the_pixels() -> None:
    costs = DecodeCosts()
    assert costs.expected(DecodeWork("JPEG", 1_000_000), 0.0) == pytest.approx(0.01, rel=0.01)
    assert costs.expected(DecodeWork("JPEG", 10_000_000), 0.0) == pytest.approx(0.1, rel=0.01)


def test_what_small_images_cost_changes_nothing_for_large_ones() -> None:
    costs = DecodeCosts()
    for number in range(300):
        costs.observe(SMALL_PNG, 8e-5, number * 0.001)
    assert costs.expected(SMALL_PNG, 0.3) == pytest.approx(8e-5)
    assert costs.expected(DecodeWork("PNG", 4_700_000), 0.3) == pytest.approx(0.047, rel=0.01)
    assert costs.expected(BMP, 0.3) == pytest.approx(0.047, rel=0.01)


def test_what_one_kind_costs_changes_nothing_for_another() -> None:
    costs = DecodeCosts()
    for number in range(100):
        costs.observe(BOMB, 2.0, number * 0.001)
    assert costs.expected(BOMB, 0.1) == pytest.approx(2.0)
    assert costs.expected(BOMB._replace(kind="JPEG"), 0.1) == pytest.approx(0.5, rel=0.01)


def test_one_measurement_however_large_at_most_doubles_the_cost() -> None:
    costs = DecodeCosts()
    costs.observe(BMP, 1000.0, 0.0)
    assert costs.expected(BMP, 0.0) <= 2 * BMP.assumed_seconds


def test_a_cost_that_lasts_is_learnt_from_a_few_images() -> None:
    costs = DecodeCosts()
    for number in range(12):
        costs.observe(BMP, 8 * BMP.assumed_seconds, number * 0.1)
    assert costs.expected(BMP, 1.2) == pytest.approx(8 * BMP.assumed_seconds)


def test_costs_that_nothing_feeds_are_forgotten_in_a_few_seconds() -> None:
    costs = DecodeCosts()
    for number in range(100):
        costs.observe(BMP, 8 * BMP.assumed_seconds, number * 0.001)
    assert costs.expected(BMP, 5.0) == pytest.approx(BMP.assumed_seconds, rel=0.1)


def test_a_probes_measurement_replaces_what_was_learnt() -> None:
    costs = DecodeCosts()
    for number in range(100):
        costs.observe(BMP, 8 * BMP.assumed_seconds, number * 0.001)
    costs.replace(BMP, BMP.assumed_seconds, 0.1)
    assert costs.expected(BMP, 0.1) == pytest.approx(BMP.assumed_seconds)
