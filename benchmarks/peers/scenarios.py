"""Which calls are compared with one another."""

from benchmarks.peers.measurement import Scenario
from benchmarks.peers.request_sets import (
    Samples,
    classify_batch_requests,
    classify_requests,
    kserve_requests,
    kserve_stream_requests,
    stream_classify_requests,
)
from benchmarks.peers.servers import RunningServer
from benchmarks.peers.workloads import Workload

BATCH = 32


def scenario_groups(
    workload: Workload, samples: Samples, ours: RunningServer, theirs: RunningServer
) -> dict[str, list[Scenario]]:
    """Returns the scenarios by group; the others of a group are compared with its first one."""
    groups = {
        f"{callers} caller{'s' * (callers > 1)}": _single_images(samples, ours, theirs, callers)
        for callers in workload.callers
    }
    if workload.many:
        callers = workload.callers[-1]
        name = f"many images by one caller: {callers} under way, or two messages of {BATCH}"
        groups[name] = _many_images(samples, ours, theirs, callers)
    return groups


def _single_images(samples: Samples, ours: RunningServer, theirs: RunningServer, callers: int) -> list[Scenario]:
    single = kserve_requests(samples)
    return [
        Scenario(theirs, "KServe", single, callers),
        Scenario(ours, "KServe", single, callers),
        Scenario(ours, "Classify", classify_requests(samples), callers),
    ]


def _many_images(samples: Samples, ours: RunningServer, theirs: RunningServer, callers: int) -> list[Scenario]:
    several, stream = kserve_requests(samples, BATCH), kserve_stream_requests(samples)
    return [
        Scenario(theirs, "KServe", kserve_requests(samples), callers),
        Scenario(theirs, f"KServe, [{BATCH}]", several, 2),
        Scenario(theirs, "KServe, streamed", stream, callers),
        Scenario(ours, f"KServe, [{BATCH}]", several, 2),
        Scenario(ours, "KServe, streamed", stream, callers),
        Scenario(ours, f"ClassifyBatch of {BATCH}", classify_batch_requests(samples, BATCH), 2),
        Scenario(ours, "StreamClassify", stream_classify_requests(samples), callers),
    ]
