"""A sending process: reads the pictures, connects, waits for the start, sends its share and tells the parent.

It must not know of other processes but how many there are; Ctrl-C is the parent's to hear.
"""

import signal
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection

from linnaeus.client.load.generator.arrivals import intended_moments
from linnaeus.client.load.generator.clock import MonotonicClock
from linnaeus.client.load.generator.cpu_usage import ProcessorShare
from linnaeus.client.load.generator.load_generator import Sender
from linnaeus.client.load.generator.records import Broken, Drop, Finished, Ready, Start
from linnaeus.client.load.generator.request_messages import Messages
from linnaeus.client.load.generator.stream_calls import StreamCaller
from linnaeus.client.load.generator.unary_calls import Caller, SingleCaller, open_channel, read_answer, read_batch
from linnaeus.client.load.plan import Plan

CONNECT_SECONDS = 5.0


def main(pipe: Connection, plan: Plan, index: int, processes: int) -> None:
    """Runs a process's share; the target of a spawned process.

    Args:
        pipe: to the parent; `records` lists what goes over it.
        plan: the whole plan.
        index: of this process, from 0.
        processes: how many there are.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _run(pipe, plan, index, processes)
    except (EOFError, BrokenPipeError):  # the parent is gone: nobody wants to know
        return
    except Exception as error:  # the boundary of the process: the parent tells the user
        pipe.send(Broken(f"{type(error).__name__}: {error}"))


def share_of(whole: int, index: int, processes: int) -> int:
    """This process's part of so many things, which all processes together make up."""
    return whole // processes + (index < whole % processes)


def _run(pipe: Connection, plan: Plan, index: int, processes: int) -> None:
    messages = Messages(plan, index, processes)
    callers = _callers(plan, max(1, share_of(plan.connections, index, processes)))
    pipe.send(Ready())
    word = pipe.recv()
    if isinstance(word, Start):
        _serve(pipe, plan, index, processes, messages, callers, word.moment)
    else:
        pipe.send(Finished(busy=0.0, not_sent=0, full=False, first_answers={}))
    for caller in callers:
        caller.close()


def _serve(
    pipe: Connection,
    plan: Plan,
    index: int,
    processes: int,
    messages: Messages,
    callers: Sequence[Caller],
    start: float,
) -> None:
    sender = Sender(plan, messages, callers, MonotonicClock(start), pipe.send, str(index))
    threading.Thread(target=_obey, args=(pipe, sender), daemon=True).start()
    share = ProcessorShare()
    sender.at(0.0, share.begin)
    sender.at(plan.duration_seconds, share.end)
    if plan.concurrency is None:
        room = max(1, share_of(plan.max_in_flight, index, processes))
        sender.run_open(intended_moments(plan, index, processes), room)
    else:
        sender.run_closed(share_of(plan.concurrency, index, processes))
    share.end()
    pipe.send(Finished(share.busy, sender.not_sent, sender.was_full, sender.first_answers))


def _callers(plan: Plan, connections: int) -> list[Caller]:
    channels = [open_channel(plan.target, CONNECT_SECONDS) for _ in range(connections)]
    if plan.rpc == "stream":
        return [StreamCaller(channel) for channel in channels]
    method, read = ("ClassifyBatch", read_batch) if plan.rpc == "batch" else ("Classify", read_answer)
    return [SingleCaller(channel, method, read) for channel in channels]


def _obey(pipe: Connection, sender: Sender) -> None:
    """Hears the parent; one that is gone means that nobody reads: drop all."""
    while True:
        try:
            word = pipe.recv()
        except (EOFError, OSError):
            sender.drop()
            return
        if isinstance(word, Drop):
            sender.drop()
        else:
            sender.stop()
