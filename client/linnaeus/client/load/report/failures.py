"""Why the calls of a run were not ok, for the terminal and the HTML page alike."""

from collections import Counter

from linnaeus.client.load.results import FailureReason, Run

# HTTP/2's REFUSED_STREAM, in the words of gRPC's C core.
_REFUSED_STREAM = "RST_STREAM with error code 7"


def failures_of(run: Run) -> tuple[FailureReason, ...]:
    """Returns why calls of all measurements were not ok, the most frequent reason first."""
    calls: Counter[tuple[str, str]] = Counter()
    for measurement in run.measurements:
        for each in measurement.failures:
            calls[each.code, each.sentence] += each.calls
    return tuple(FailureReason(code, count, sentence) for (code, sentence), count in calls.most_common())


def reset_sentence(run: Run) -> str:
    """Explains the calls that gRPC reset at the server; empty if there were none."""
    calls = sum(each.calls for each in failures_of(run) if each.sentence.endswith(_REFUSED_STREAM))
    if not calls:
        return ""
    noun = "call" if calls == 1 else "calls"
    return (
        f"gRPC reset {calls:,} {noun} at the server, which neither saw nor counted them: a connection carries so many "
        "calls at once (4,096 at a Linnaeus server), and a call counts until its memory is freed, which is later than "
        "its answer. More --connections spread the calls."
    )
