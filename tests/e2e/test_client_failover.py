"""With two servers, one of which is lost under load, the client answers every call, blocking or asyncio."""

import asyncio
import itertools
import re
import signal
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.e2e.forked_server import ForkedServer

from linnaeus.client import AsyncClient, Classification, Client
from linnaeus.server.rpc.child_server import ServerProcess

CALLERS = 16
CALLS = 1200
LOST_AFTER = 400

Run = Callable[[list[str], list[bytes], Callable[[], None]], list[Classification]]


@pytest.fixture
def stopped_server(repository: Path) -> Iterator[ServerProcess]:
    with ForkedServer("--repository", str(repository), "--models", "lenet") as process:
        yield process


@pytest.fixture
def digit_images(pictures: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((pictures / "digits").glob("*.png"))]


def run_blocking(targets: list[str], digit_images: list[bytes], answered: Callable[[], None]) -> list[Classification]:
    def classify(number: int) -> Classification:
        answer = client.classify(digit_images[number % len(digit_images)], model="lenet", image_id=str(number))
        answered()
        return answer

    with Client(targets) as client, ThreadPoolExecutor(CALLERS) as callers:
        return list(callers.map(classify, range(CALLS)))


def run_asyncio(targets: list[str], digit_images: list[bytes], answered: Callable[[], None]) -> list[Classification]:
    async def caller(client: AsyncClient, numbers: Iterator[int]) -> list[Classification]:
        answers = []
        for number in numbers:
            answers.append(
                await client.classify(digit_images[number % len(digit_images)], model="lenet", image_id=str(number))
            )
            answered()
        return answers

    async def run() -> list[Classification]:
        numbers = iter(range(CALLS))
        async with AsyncClient(targets) as client:
            return sum(await asyncio.gather(*(caller(client, numbers) for _ in range(CALLERS))), [])

    return asyncio.run(run())


def handled_calls(server: ServerProcess) -> dict[str, int]:
    """Returns how many Classify calls the server has handled, by status code."""
    with urllib.request.urlopen(server.metrics_url, timeout=60) as page:
        samples = re.findall(r"^grpc_server_handled_total\{(.*)\} (\S+)$", page.read().decode(), re.MULTILINE)
    classify_samples = [(labels, float(count)) for labels, count in samples if 'grpc_method="Classify"' in labels]
    return {re.findall(r'grpc_code="(\w+)"', labels)[0]: int(count) for labels, count in classify_samples}


@pytest.mark.parametrize(
    ("run", "loss"),
    [
        (run_blocking, signal.SIGKILL),
        (run_asyncio, signal.SIGTERM),
        pytest.param(run_blocking, signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(run_asyncio, signal.SIGKILL, marks=pytest.mark.slow),
    ],
)
def test_no_call_fails_when_one_of_two_servers_is_lost(
    server: ServerProcess, stopped_server: ServerProcess, digit_images: list[bytes], run: Run, loss: signal.Signals
) -> None:
    before, counter, answered_by_stopped_server = handled_calls(server), itertools.count(1), []

    def answered() -> None:
        if next(counter) == LOST_AFTER:
            answered_by_stopped_server.append(handled_calls(stopped_server).get("OK", 0))
            stopped_server.child.send_signal(loss)

    answers = run([server.target, stopped_server.target], digit_images, answered)
    after = handled_calls(server)
    survivor = {code: count - before.get(code, 0) for code, count in after.items() if count != before.get(code, 0)}
    assert sorted(int(answer.image_id) for answer in answers) == list(range(CALLS))
    assert stopped_server.child.wait(60) == (0 if loss is signal.SIGTERM else -loss)
    # Both servers were used, and calls that the lost server had answered were not sent again.
    assert answered_by_stopped_server[0] > 0
    assert survivor.keys() == {"OK"}
    assert CALLS - LOST_AFTER < survivor["OK"] <= CALLS - answered_by_stopped_server[0]
