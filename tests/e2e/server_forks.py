"""A program that has imported what a server needs, and forks servers of one process when it is told to.

Its argument is the descriptor of a socket. A request is the length of a JSON object in four bytes, with two
descriptors, then the object: the `arguments` of the server, its `environment` and its `folder`. The first descriptor
becomes the server's standard error; to the second are written the number of the process and, at its end, its exit code,
a line each.

It has one thread, so no fork copies a lock that is held, and ends with its socket.
"""

import contextlib
import json
import os
import select
import signal
import socket
import sys

LENGTH_BYTES = 4


def wait_in_fork(requests: socket.socket) -> bytes:
    """Forks for each request; returns it, in the forked process only, whose standard error is the one asked for."""
    ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the tests, which then close the socket
    reports: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([requests, ended], [], [])
        if ended in ready:
            os.read(ended, 4096)
            report_ends(reports)
        if requests not in ready:
            continue
        length, descriptors, _, _ = socket.recv_fds(requests, LENGTH_BYTES, 2)
        if not length:
            sys.exit(0)
        request = requests.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL)
        errors, report = descriptors
        process = os.fork()
        if process == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.dup2(errors, 2)
            requests.close()
            for each in (ended, wake, errors, report, *reports.values()):
                os.close(each)
            return request
        os.close(errors)
        os.write(report, b"%d\n" % process)
        reports[process] = report


def report_ends(reports: dict[int, int]) -> None:
    """Tells the exit codes of processes that have ended."""
    for process in [*reports]:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            report = reports.pop(process)
            with contextlib.suppress(BrokenPipeError):  # a test has lost interest in it
                os.write(report, b"%d\n" % os.waitstatus_to_exitcode(status))
            os.close(report)


def run_server(request: bytes) -> None:
    """Becomes the server."""
    told = json.loads(request)
    os.environ.clear()
    os.environ.update(told["environment"])
    os.chdir(told["folder"])
    sys.argv[1:] = told["arguments"]
    from linnaeus.server.cli import main

    main()


if __name__ == "__main__":
    import linnaeus.server.app.one_process
    import linnaeus.server.app.preloaded
    import linnaeus.server.cli.commands  # noqa: F401

    run_server(wait_in_fork(socket.socket(fileno=int(sys.argv[1]))))
