"""A benchmark's process tells that it is ready; one that ends before is noticed and does not hang the benchmark."""

from multiprocessing.connection import Connection

import pytest

from benchmarks.common.child_process import ChildProcess


def echo(connection: Connection, first: str) -> None:
    connection.send(first)
    while (message := connection.recv()) is not None:
        connection.send(message)


def end(connection: Connection) -> None:
    return None


def test_a_process_is_ready_by_its_first_message_and_ends_when_it_is_asked() -> None:
    child = ChildProcess(echo, "ready")
    assert child.first_message == "ready" and child.pid > 0
    child.connection.send("message")
    assert child.connection.recv() == "message"
    child.connection.send(None)
    child.join()


def test_a_process_that_is_killed_closes_its_end_of_the_pipe() -> None:
    child = ChildProcess(echo, "ready")
    child.kill()
    with pytest.raises(EOFError):
        child.connection.recv()


def test_a_process_that_ends_before_it_is_ready_is_noticed() -> None:
    with pytest.raises(EOFError):
        ChildProcess(end)
