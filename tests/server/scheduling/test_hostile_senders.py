"""Nothing that is sent, and no pause of the machine, harms others for longer than two seconds; in simulated time."""

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from benchmarks.simulation.calls import Call, Sender
from benchmarks.simulation.one_machine import Simulation
from benchmarks.simulation.replica import SimulatedModel
from linnaeus.server.scheduling import DecodeWork, Priority

# About the times of efficientnet_lite0 and of lenet on two cores.
MODEL = SimulatedModel({1: 0.011, 8: 0.08}, decode_seconds=0.003)
SMALL_MODEL = SimulatedModel({1: 0.0003, 32: 0.004}, decode_seconds=0.0001)
GAINS_BY_BATCHES = SimulatedModel({1: 0.02, 8: 0.03, 32: 0.06, 128: 0.2})
GOOD_CALLERS = 8
GOOD_RATE = 5.0  # of each caller, together about half of the capacity
CAPACITY = 80.0
WEIGHTS = {Priority.HIGH: 10.0, Priority.NORMAL: 1.0, Priority.LOW: 1.0}  # of a high claim, as `LaneLimits` has it
# A lossless WebP of one colour: 34 bytes on the wire, 50 megapixels.
BOMB = DecodeWork("WEBP lossless", 49_968_150)


def good_senders(timeout: float = 0.5) -> list[Sender]:
    return [Sender(f"good {number}", timeout) for number in range(GOOD_CALLERS)]


def send_good(simulation: Simulation, start: float, end: float, model: str = "m", timeout: float = 0.5) -> None:
    for sender in good_senders(timeout):
        simulation.send_as(sender, model, simulation.poisson(GOOD_RATE, start, end))


def good_calls(simulation: Simulation, start: float, end: float) -> list[Call]:
    return [call for call in simulation.calls if call.caller.startswith("good") and start <= call.sent_at < end]


def in_time(calls: list[Call]) -> float:
    return sum(call.in_time for call in calls) / len(calls)


def new_simulation(**options: object) -> Simulation:
    return Simulation({"m": MODEL, "small": SMALL_MODEL}, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("times", [1, 5])
def test_an_image_of_few_bytes_and_many_pixels_without_a_deadline_leaves_the_model_unharmed(times: int) -> None:
    simulation = new_simulation()
    send_good(simulation, 0.0, 9.0)
    bomber = Sender("bomber", None, work=BOMB, decode_seconds=1.0)
    simulation.send_as(bomber, "m", [1.0 + each for each in range(times)])
    simulation.run()
    assert in_time(good_calls(simulation, 0.0, 9.0)) >= 0.95
    assert in_time(good_calls(simulation, times + 1.0, 9.0)) >= 0.98


@pytest.mark.parametrize("seconds", [2.0, 5.0])
@pytest.mark.parametrize(("model", "timeout"), [("m", 0.5), ("m", 0.2), ("small", 0.2), ("small", 1.0)])
def test_after_a_pause_of_the_machine_an_idle_server_answers_again_at_once(
    model: str, timeout: float, seconds: float
) -> None:
    simulation = new_simulation(pause=(2.003, 2.003 + seconds))
    send_good(simulation, 0.0, 12.0, model, timeout)
    simulation.run()
    assert in_time(good_calls(simulation, 3.0 + seconds, 12.0)) >= 0.99
    soon = good_calls(simulation, 2.1 + seconds, 3.0 + seconds)
    assert in_time(soon) >= 0.8


@pytest.mark.parametrize("slowness", [2.0, 5.0])
def test_a_model_that_stays_slower_is_learnt_within_two_seconds(slowness: float) -> None:
    simulation = new_simulation(slowness=lambda now: slowness if now >= 3.0 else 1.0)
    simulation.send("m", simulation.poisson(200.0, 0.0, 10.0), 0.5)
    simulation.run()
    admitted = [call for call in simulation.calls if call.ticket is not None and call.sent_at >= 5.0]
    assert in_time(admitted) >= 0.9
    before, after = simulation.goodput(1.0, 3.0), simulation.goodput(5.0, 10.0)
    assert after >= 0.85 * before / slowness


@pytest.mark.parametrize("timeout", [0.002, 0.05])
def test_one_call_with_a_tight_deadline_slows_another_model_down_by_no_more_than_its_own_work(timeout: float) -> None:
    finished = []
    for tight_calls in ([], [0.5]):
        simulation = Simulation({"large": GAINS_BY_BATCHES, "small": SMALL_MODEL}, noise=0.0)
        simulation.send("large", [0.0] * 500, None)
        simulation.send("small", tight_calls, timeout)
        simulation.run()
        finished.append(max(call.ended_at for call in simulation.calls if call.model == "large"))
    assert finished[1] <= 1.02 * finished[0]


def test_a_flood_of_low_priority_locks_nobody_out() -> None:
    simulation = new_simulation()
    simulation.send_as(Sender("flood", None, Priority.LOW), "m", simulation.poisson(500.0, 0.0, 4.0))
    send_good(simulation, 1.0, 4.0)
    simulation.run()
    assert in_time(good_calls(simulation, 1.0, 4.0)) >= 0.95


def test_a_flood_of_high_priority_leaves_the_others_their_share() -> None:
    simulation = new_simulation()
    simulation.send_as(Sender("flood", None, Priority.HIGH), "m", simulation.poisson(200.0, 1.0, 5.0))
    send_good(simulation, 0.0, 8.0)
    simulation.run()
    assert in_time(good_calls(simulation, 1.0, 8.0)) >= 0.9


def test_a_flood_of_the_same_priority_leaves_the_others_their_share() -> None:
    simulation = new_simulation()
    simulation.send_as(Sender("flood", 0.5), "m", simulation.poisson(500.0, 0.0, 4.0))
    send_good(simulation, 1.0, 4.0)
    simulation.run()
    assert in_time(good_calls(simulation, 1.5, 4.0)) >= 0.9


PIXELS = st.sampled_from([1_000, 200_000, 5_000_000, 50_000_000])


@st.composite
def hostile_senders(draw: st.DrawFn) -> tuple[Sender, str, float]:
    """Returns a sender, the model it asks, and its requests a second."""
    pixels = draw(PIXELS)
    cost = draw(st.sampled_from([0.3e-8, 1e-8, 3e-8]))
    sender = Sender(
        name=draw(st.sampled_from(["hostile 1", "hostile 2", "hostile 3"])),
        timeout=draw(st.sampled_from([None, 0.002, 0.02, 0.1, 0.5, 5.0])),
        priority=draw(st.sampled_from(Priority)),
        patience=draw(st.sampled_from([None, 0.0, 0.01, 0.2])),
        work=DecodeWork(draw(st.sampled_from(["m", "hostile"])), pixels),
        decode_seconds=5e-5 + pixels * cost,
    )
    return sender, draw(st.sampled_from(["m", "small"])), draw(st.sampled_from([1.0, 10.0, 100.0, 400.0]))


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.lists(hostile_senders(), min_size=1, max_size=4), st.integers(0, 100))
def test_whatever_hostile_senders_choose_others_keep_half_their_share_and_all_is_well_two_seconds_later(
    hostile: list[tuple[Sender, str, float]], seed: int
) -> None:
    simulation = new_simulation(seed=seed)
    send_good(simulation, 0.0, 7.0)
    for sender, model, rate in hostile:
        simulation.send_as(sender, model, simulation.poisson(rate, 1.0, 3.0))
    simulation.run()
    weights: dict[str, float] = {}
    for sender, _, _ in hostile:
        weights[sender.name] = max(weights.get(sender.name, 0.0), WEIGHTS[sender.priority])
    share = min(1.0, CAPACITY / (GOOD_CALLERS + sum(weights.values())) / GOOD_RATE)
    assert in_time(good_calls(simulation, 1.5, 3.0)) >= 0.5 * share
    assert in_time(good_calls(simulation, 5.0, 7.0)) >= 0.9
