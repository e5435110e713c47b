"""The rule by which calls take connections: promises that hold for any calls."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.client import AsyncClient, Client
from linnaeus.client.transport.connection_spread import MAX_CONNECTIONS, ConnectionSpread, parse_connections

# A call begins (None), or the one that began so many calls before the last one ends.
CALLS = st.lists(st.none() | st.integers(0, 20), max_size=200)


def spread(maximum: int | None) -> ConnectionSpread[int]:
    return ConnectionSpread(itertools.count().__next__, maximum)


@given(maximum=st.integers(1, 8), calls=CALLS)
def test_a_call_takes_the_least_busy_connection_and_opens_one_only_if_all_are_busy(maximum, calls):
    connections, in_flight, running = spread(maximum), {}, []
    for call in calls:
        if call is None:
            taken = connections.take()
            least = min(in_flight.values(), default=1)
            if taken in in_flight:
                assert in_flight[taken] == least
                assert least == 0 or len(in_flight) == maximum
            else:
                assert least > 0 and len(in_flight) < maximum
            in_flight[taken] = in_flight.get(taken, 0) + 1
            running.append(taken)
        elif running:
            ended = running.pop(-1 - call % len(running))
            in_flight[ended] -= 1
            connections.release(ended)


@given(maximum=st.integers(1, 8), calls=st.integers(0, 40))
def test_calls_that_never_end_are_spread_evenly(maximum, calls):
    connections = spread(maximum)
    taken = [connections.take() for _ in range(calls)]
    assert len(set(taken)) == min(calls, maximum)
    assert all(taken.count(each) - calls // maximum in (0, 1) for each in set(taken))


@given(calls=st.integers(1, 20))
def test_one_call_at_a_time_stays_on_one_connection(calls):
    connections = spread(MAX_CONNECTIONS)
    taken = set()
    for _ in range(calls):
        taken.add(connections.take())
        connections.release(*taken)
    assert taken == {0}


def test_until_the_server_has_told_a_number_one_connection_has_all_calls():
    connections = spread(None)
    assert not connections.must_query
    assert connections.take() == 0
    assert connections.must_query, "another call would overlap"
    assert connections.take() == 0
    connections.set_server_connections(3)
    assert not connections.must_query
    assert [connections.take() for _ in range(3)] == [1, 2, 1]


@pytest.mark.parametrize(("told", "maximum"), [(0, 1), (-3, 1), (7, 7), (1_000_000, MAX_CONNECTIONS)])
def test_what_a_server_tells_is_kept_within_bounds(told, maximum):
    connections = spread(None)
    connections.set_server_connections(told)
    assert connections.maximum == maximum


def test_a_number_of_the_caller_counts_more_than_the_servers():
    connections = spread(2)
    connections.set_server_connections(8)
    assert connections.maximum == 2


def test_a_closed_client_opens_no_connection():
    connections = spread(2)
    connections.take()
    connections.take()
    assert connections.close() == (0, 1)
    assert connections.take() is None
    connections.release(0)


@pytest.mark.parametrize("client_type", [Client, AsyncClient])
@pytest.mark.parametrize("connections", [0, -1, 65, True, 2.0, "many", "", None])
def test_a_number_that_makes_no_sense_is_refused_in_one_sentence(client_type, connections):
    with pytest.raises(ValueError, match='^connections must be "auto" or a number from 1 to 64, not '):
        client_type(connections=connections)


def test_the_bounds_themselves_are_numbers():
    assert [parse_connections(each) for each in ("auto", 1, 64)] == [None, 1, 64]
