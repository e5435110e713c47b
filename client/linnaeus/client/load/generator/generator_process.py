"""A generator process: reads the images, connects, waits for the start, sends its share and reports to the parent.

Ignores Ctrl-C, which the parent handles.
"""

import signal
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection

from linnaeus.client.load.generator.arrivals import arrival_times
from linnaeus.client.load.generator.clock import MonotonicClock
from linnaeus.client.load.generator.cpu_usage import CpuUsage
from linnaeus.client.load.generator.load_generator import LoadGenerator
from linnaeus.client.load.generator.process_messages import CancelAll, Finished, ProcessFailed, Ready, Start
from linnaeus.client.load.generator.request_messages import RequestMessages
from linnaeus.client.load.generator.stream_calls import StreamCaller
from linnaeus.client.load.generator.unary_calls import (
    Caller,
    UnaryCaller,
    open_channel,
    read_batch_response,
    read_response,
)
from linnaeus.client.load.plan import Plan

CONNECT_TIMEOUT_SECONDS = 5.0


def main(pipe: Connection, plan: Plan, index: int, processes: int) -> None:
    """Runs a generator process; the target of the spawned process.

    Args:
        pipe: to the parent; see `process_messages`.
        plan: the whole plan.
        index: of this process, from 0.
        processes: the number of generator processes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _run(pipe, plan, index, processes)
    except (EOFError, BrokenPipeError):  # the parent has ended
        return
    except Exception as error:  # the process's outermost boundary: the parent reports the error
        pipe.send(ProcessFailed(f"{type(error).__name__}: {error}"))


def share_of(total: int, index: int, processes: int) -> int:
    """Returns this process's share of a number; the shares of all processes add up to it."""
    return total // processes + (index < total % processes)


def _run(pipe: Connection, plan: Plan, index: int, processes: int) -> None:
    messages = RequestMessages(plan, index, processes)
    callers = _callers(plan, max(1, share_of(plan.connection_count, index, processes)))
    pipe.send(Ready())
    message = pipe.recv()
    if isinstance(message, Start):
        _generate(pipe, plan, index, processes, messages, callers, message.at)
    else:
        pipe.send(Finished(busy=0.0, not_sent=0, full=False, first_answers={}))
    for caller in callers:
        caller.close()


def _generate(
    pipe: Connection,
    plan: Plan,
    index: int,
    processes: int,
    messages: RequestMessages,
    callers: Sequence[Caller],
    start: float,
) -> None:
    generator = LoadGenerator(plan, messages, callers, MonotonicClock(start), pipe.send, str(index))
    threading.Thread(target=_obey, args=(pipe, generator), daemon=True).start()
    usage = CpuUsage()
    generator.schedule(0.0, usage.start)
    generator.schedule(plan.duration_seconds, usage.stop)
    if plan.concurrency is None:
        max_in_flight = max(1, share_of(plan.max_in_flight, index, processes))
        generator.run_open_loop(arrival_times(plan, index, processes), max_in_flight)
    else:
        generator.run_closed_loop(share_of(plan.concurrency, index, processes))
    usage.stop()
    pipe.send(Finished(usage.busy, generator.not_sent, generator.was_full, generator.first_answers))


def _callers(plan: Plan, connections: int) -> list[Caller]:
    target = plan.addresses.grpc_target()
    channels = [open_channel(target, CONNECT_TIMEOUT_SECONDS, plan.tls) for _ in range(connections)]
    if plan.rpc == "stream":
        return [StreamCaller(channel, plan.metadata) for channel in channels]
    method, read = ("ClassifyBatch", read_batch_response) if plan.rpc == "batch" else ("Classify", read_response)
    return [UnaryCaller(channel, method, read, plan.metadata) for channel in channels]


def _obey(pipe: Connection, generator: LoadGenerator) -> None:
    """Executes the parent's messages. If the parent has ended, cancels everything: nobody reads the results."""
    while True:
        try:
            message = pipe.recv()
        except (EOFError, OSError):
            generator.cancel_all()
            return
        if isinstance(message, CancelAll):
            generator.cancel_all()
        else:
            generator.stop()
