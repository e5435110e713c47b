"""What `make bench-peers` sends is what Linnaeus understands, and what tritonserver understands where it is."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.peers import stream_load as peers_load
from benchmarks.peers.measurement import Way, measure
from benchmarks.peers.request_bodies import Subject, WrongAnswer, batch_job, classify_job, kserve_job, stream_job
from benchmarks.peers.servers import Contender, agreed, linnaeus, tritonserver
from benchmarks.peers.triton_server import Triton, Unavailable
from benchmarks.peers.workloads import LENET, subject_of
from linnaeus.server.rpc.child_server import ServerProcess

SECONDS = 0.05


@pytest.fixture(scope="module")
def subject() -> Subject:
    """The bundled digits, which are named after what they show."""
    subject = subject_of(LENET, Path())
    return replace(subject, best=(0, 1, 2, 4, 7, 9))


JOBS = {
    "KServe": kserve_job,
    "KServe, many": lambda subject: kserve_job(subject, 7),
    "KServe, streamed": lambda subject: kserve_job(subject, streaming=True),
    "Classify": classify_job,
    "ClassifyBatch": lambda subject: batch_job(subject, 7),
    "StreamClassify": stream_job,
}


@pytest.mark.parametrize("how", JOBS)
def test_linnaeus_names_every_digit_rightly(how: str, server: ServerProcess, subject: Subject) -> None:
    assert peers_load.run(server.target, JOBS[how](subject), 4, SECONDS).latencies


@pytest.mark.parametrize("how", JOBS)
def test_a_wrong_name_is_noticed(how: str, server: ServerProcess, subject: Subject) -> None:
    with pytest.raises(WrongAnswer):
        peers_load.run(server.target, JOBS[how](replace(subject, best=(0, 1, 2, 4, 7, 8))), 8, SECONDS)


@pytest.fixture(scope="module")
def theirs() -> Iterator[Contender]:
    if not LENET.version.exists():
        pytest.skip("there is no trained lenet; make bench-peers makes it")
    with ExitStack() as opened:
        try:
            triton = Triton()
        except Unavailable as reason:
            pytest.skip(f"{reason}; make bench-peers installs it where it can")
        yield opened.enter_context(tritonserver(triton, LENET.version, LENET.tuning, LENET.takes_pixels))


def test_both_name_the_same_digits_and_tell_their_batches(theirs: Contender, subject: Subject) -> None:
    with linnaeus(LENET.version) as ours:
        assert agreed(subject, [theirs, ours]) == subject.best
        for contender in (theirs, ours):
            spell = measure(Way(contender, "KServe", kserve_job(subject), 16), SECONDS)
            assert spell.rate > 0 and 1 <= spell.batch <= 16 and spell.p50 <= spell.p99
