"""The processes of a server and their threads are told apart, and what they spend adds up to what the server spends."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.common.process_usage import processor_seconds
from benchmarks.common.server_processes import (
    DECODERS,
    DEVICE_WORKERS,
    ENGINE,
    EVENT_LOOP,
    FORK_SERVER,
    FRONT_END,
    GRPC,
    ONE_PROCESS,
    OTHER_THREADS,
    ROLES,
    STAGES,
    SUPERVISOR,
    process_roles,
    spent_seconds,
    thread_times,
)
from benchmarks.front_ends.free_model import free_jpeg
from benchmarks.peers.servers import linnaeus

# A supervisor, below it a fork server, and below that processes which name themselves and their threads after the fork.
FORKED = """
import json, os, sys, threading
from pathlib import Path

def named(name, threads):
    if os.fork():
        return
    Path("/proc/self/comm").write_text(name)
    for each in threads:
        ready = threading.Event()
        threading.Thread(target=run, args=(each, ready), daemon=True).start()
        ready.wait()
    os.write(1, (json.dumps({name: os.getpid()}) + "\\n").encode())  # whole: both write into one pipe
    sys.stdin.read()
    os._exit(0)

def run(name, ready):
    if name:
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(name)
    ready.set()
    threading.Event().wait()

if os.fork() == 0:
    named("linnaeus-engine", ["linnaeus-cpu", "linnaeus-load"])
    named("linnaeus-front", ["linnaeus-decode", "event_engine", ""])
    sys.stdin.read()
    os._exit(0)
sys.stdin.read()
"""


@pytest.fixture
def forked() -> Iterator[tuple[int, dict[str, int]]]:
    """The id of a supervisor, and those of the processes that name themselves, by name."""
    with subprocess.Popen(
        [sys.executable, "-c", FORKED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout and child.stdin
        named = dict[str, int]()
        for _ in range(2):
            named |= json.loads(child.stdout.readline())
        yield child.pid, named
        child.stdin.close()


def test_forked_processes_are_told_by_their_names(forked: tuple[int, dict[str, int]]) -> None:
    root, named = forked
    roles = process_roles(root)
    assert roles[root] == SUPERVISOR
    assert roles[named["linnaeus-engine"]] == ENGINE and roles[named["linnaeus-front"]] == FRONT_END
    assert sorted(roles.values()) == sorted([SUPERVISOR, FORK_SERVER, ENGINE, FRONT_END])


def test_threads_are_told_by_their_names_and_grpcs_unnamed_one_by_its_company(
    forked: tuple[int, dict[str, int]],
) -> None:
    found = sorted(each.stage for each in thread_times(forked[0]).values())
    assert found == sorted(
        [
            (SUPERVISOR, EVENT_LOOP),
            (FORK_SERVER, EVENT_LOOP),
            *((ENGINE, kind) for kind in (EVENT_LOOP, DEVICE_WORKERS, OTHER_THREADS)),
            *((FRONT_END, kind) for kind in (EVENT_LOOP, DECODERS, GRPC, GRPC)),
        ]
    )


def test_a_process_without_an_engine_is_the_whole_server() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert process_roles(child.pid) == {child.pid: ONE_PROCESS}
        assert child.stdin
        child.stdin.write(b"\n")


@pytest.mark.slow
@pytest.mark.parametrize("front_ends", [pytest.param(0, marks=pytest.mark.release), 1])
def test_the_stages_of_a_server_add_up_to_its_processor_time(tmp_path: Path, front_ends: int) -> None:
    model = free_jpeg(tmp_path)
    with linnaeus(model.version, "--front-ends", str(front_ends)) as server:
        before, total = thread_times(server.process), processor_seconds(server.process)
        for number in range(1000):
            place = number % len(model.requests.messages)
            model.requests.check(place, server.call(model.requests.path, model.requests.messages[place]))
        spent = spent_seconds(before, thread_times(server.process))
        total = processor_seconds(server.process) - total
    # ticks of 10 ms for each process
    assert sum(spent.values()) == pytest.approx(total, abs=0.05)
    owner = FRONT_END if front_ends else ONE_PROCESS
    used = {stage for stage, seconds in spent.items() if seconds > 0.01 * total}
    assert used >= {
        (owner, EVENT_LOOP),
        (owner, DECODERS),
        (owner, GRPC),
        (ENGINE if front_ends else owner, EVENT_LOOP),
    }
    assert {role for role, _ in spent} <= set(ROLES) and {kind for _, kind in spent} <= set(STAGES)
    assert sum(seconds for (_, kind), seconds in spent.items() if kind == OTHER_THREADS) < 0.05 * total
