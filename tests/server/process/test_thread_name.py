"""Lists of threads show the server's names, so that processor time can be told apart by thread."""

import threading
from pathlib import Path

from linnaeus.server.process.daemon_threads import DaemonExecutor, run_in_thread
from linnaeus.server.process.supervised_thread import SupervisedThread
from linnaeus.server.process.supervisor import Supervisor


def shown_name() -> str:
    return Path(f"/proc/self/task/{threading.get_native_id()}/comm").read_text(encoding="utf-8").strip()


async def test_a_call_on_a_thread_runs_under_its_name() -> None:
    assert await run_in_thread("linnaeus-test", shown_name) == "linnaeus-test"


def test_an_executors_thread_has_its_name() -> None:
    executor = DaemonExecutor("linnaeus-test")
    assert executor.submit(shown_name).result(10) == "linnaeus-test"
    executor.shutdown()


def test_a_supervised_thread_has_the_start_of_a_long_name() -> None:
    found = list[str]()
    thread = SupervisedThread(
        "linnaeus-decoder-17", "test", lambda: found.append(shown_name()), Supervisor(lambda part: None), lambda: None
    )
    thread.start()
    thread.join(10)
    assert found == ["linnaeus-decode"]
