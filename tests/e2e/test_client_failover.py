"""Two servers, one lost under load: the default client, blocking or asyncio, answers every call."""

import asyncio
import itertools
import re
import signal
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from linnaeus.client import AsyncClient, Classification, Client
from linnaeus.server.rpc.child_server import ServerProcess

CALLERS = 16
CALLS = 1200
LOST_AFTER = 400

Run = Callable[[list[str], list[bytes], Callable[[], None]], list[Classification]]


@pytest.fixture
def doomed(repository: Path) -> Iterator[ServerProcess]:
    with ServerProcess("--repository", str(repository), "--models", "lenet") as process:
        yield process


@pytest.fixture
def digits(pictures: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((pictures / "digits").glob("*.png"))]


def run_blocking(targets: list[str], digits: list[bytes], answered: Callable[[], None]) -> list[Classification]:
    def ask(number: int) -> Classification:
        answer = client.classify(digits[number % len(digits)], model="lenet", image_id=str(number))
        answered()
        return answer

    with Client(targets) as client, ThreadPoolExecutor(CALLERS) as callers:
        return list(callers.map(ask, range(CALLS)))


def run_asyncio(targets: list[str], digits: list[bytes], answered: Callable[[], None]) -> list[Classification]:
    async def caller(client: AsyncClient, numbers: Iterator[int]) -> list[Classification]:
        answers = []
        for number in numbers:
            answers.append(await client.classify(digits[number % len(digits)], model="lenet", image_id=str(number)))
            answered()
        return answers

    async def run() -> list[Classification]:
        numbers = iter(range(CALLS))
        async with AsyncClient(targets) as client:
            return sum(await asyncio.gather(*(caller(client, numbers) for _ in range(CALLERS))), [])

    return asyncio.run(run())


def classified(server: ServerProcess) -> dict[str, int]:
    """How many calls a server has handled, by status code, itself."""
    with urllib.request.urlopen(server.metrics_url, timeout=60) as page:
        samples = re.findall(r"^grpc_server_handled_total\{(.*)\} (\S+)$", page.read().decode(), re.MULTILINE)
    asked = [(labels, float(count)) for labels, count in samples if 'grpc_method="Classify"' in labels]
    return {re.findall(r'grpc_code="(\w+)"', labels)[0]: int(count) for labels, count in asked}


@pytest.mark.parametrize("loss", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("run", [run_blocking, run_asyncio])
def test_no_call_is_lost_with_a_server(
    server: ServerProcess, doomed: ServerProcess, digits: list[bytes], run: Run, loss: signal.Signals
) -> None:
    before, counter, answered_by_doomed = classified(server), itertools.count(1), []

    def answered() -> None:
        if next(counter) == LOST_AFTER:
            answered_by_doomed.append(classified(doomed).get("OK", 0))
            doomed.child.send_signal(loss)

    answers = run([server.target, doomed.target], digits, answered)
    after = classified(server)
    survivor = {code: count - before.get(code, 0) for code, count in after.items() if count != before.get(code, 0)}
    assert sorted(int(answer.image_id) for answer in answers) == list(range(CALLS))
    assert doomed.child.wait(60) == (0 if loss is signal.SIGTERM else -loss)
    # Both took their turns, and what the lost server had answered was not asked again.
    assert answered_by_doomed[0] > 0
    assert survivor.keys() == {"OK"}
    assert CALLS - LOST_AFTER < survivor["OK"] <= CALLS - answered_by_doomed[0]
