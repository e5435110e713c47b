"""Every figure that a simulation computes from says where it is from."""

import tomllib

from benchmarks.simulation.costs import FILE, network, read_costs
from benchmarks.simulation.experiments import fleet, sizes
from benchmarks.simulation.report import unit_hours_per_million

FIGURES = {"batch_seconds", "decode_seconds", "call_seconds", "caller_seconds", "noise"}


def test_every_figure_was_measured_or_is_assumed_and_says_so() -> None:
    for name, costs in read_costs().items():
        (model,) = costs.machine.models.values()
        zeros = {"caller_seconds"} if not costs.caller_seconds else set()
        assert set(costs.sources) == FIGURES - zeros, name
        assert all(source.startswith(("measured (", "assumed")) for source in costs.sources.values()), name
        assert list(model.batch_seconds) == sorted(model.batch_seconds), name
    assert network().source.startswith(("measured (", "assumed"))


def test_no_figure_of_the_file_is_left_unread() -> None:
    known = {"what", "cores", "devices", "workers", "decoders", *FIGURES, "sources", "found"}
    tables = tomllib.loads(FILE.read_text(encoding="utf-8"))
    assert all(set(table) <= known for name, table in tables.items() if name != "network")


def test_the_cost_of_a_million_answers_is_what_the_fleet_takes_meanwhile() -> None:
    costs = read_costs()["efficientnet_lite0"]
    assert unit_hours_per_million(costs, 10, 1000.0) == 2 * 10 * 1000 / 3600


def test_one_in_a_hundred_is_slow_and_at_least_one() -> None:
    base = fleet(read_costs()["efficientnet_lite0"], 1, 0.0)
    slow = {point.plan.replicas: point.plan.slow for point in sizes(base) if point.plan.slow}
    assert slow == {10: 1, 100: 1, 1000: 10}
