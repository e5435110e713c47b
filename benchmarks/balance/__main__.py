"""`make bench-balance`: two servers behind Envoy, behind nginx, and called directly.

    .venv/bin/python -m benchmarks.balance [--rounds 5] [--seconds 2]

All run on this machine at the same time; what is measured takes turns, and the others idle. First h2load: latency of
one caller, and what 16 callers get in a second, from both servers together; directly it sends half of them to each.
Then 16 callers of the Python client with deadlines, while the second server refuses what is above a rate, as one does
that others keep busy.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.balance.balancers import Listen, Upstream, envoy, nginx
from benchmarks.balance.measurement import DEADLINE_SECONDS, Way, measure_busy_server, measure_load
from benchmarks.balance.report import print_busy_server, print_load
from benchmarks.common.h2load import has_h2load
from benchmarks.common.ports import free_port
from benchmarks.common.rounds import rotated
from benchmarks.peers.servers import RunningServer, linnaeus

VERSION = Path("model-repository/lenet/1")
# Calls a second that the busy server takes, of thousands.
BUSY_RATE = 50


def main() -> int:
    """Returns 0 even if h2load is missing: then there is nothing to measure."""
    options = _options()
    if not has_h2load():
        return 0
    with ExitStack() as opened:
        ways = _ways(opened, [start(opened), start(opened)])
        loads = [[measure_load(way, options.seconds) for way in rotated(ways, each)] for each in range(options.rounds)]
    print_load(loads)
    with ExitStack() as opened:
        ways = _ways(opened, [start(opened), start(opened, "--rate-limit", str(BUSY_RATE))])
        busy = [
            [measure_busy_server(way, options.seconds) for way in rotated(ways, each)] for each in range(options.rounds)
        ]
    print_busy_server(busy, BUSY_RATE, DEADLINE_SECONDS)
    return 0


def start(opened: ExitStack, *options: str) -> RunningServer:
    """Starts a server for `lenet`."""
    return opened.enter_context(linnaeus(VERSION, "--front-ends", "0", "--http-port", "0", *options))


def _ways(opened: ExitStack, servers: Sequence[RunningServer]) -> list[Way]:
    """Returns the ways to two servers: directly, and through balancers that it starts."""
    ways = [Way("directly", tuple(each.target for each in servers), tuple(servers))]
    upstream = [Upstream(_port(each.target), _port(each.http_target)) for each in servers]
    for name, balance in (("Envoy", envoy), ("nginx", nginx)):
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="lin-")))
        listen = Listen(*(f"127.0.0.1:{free_port()}" for _ in range(3)))
        balancer = opened.enter_context(balance(folder, upstream, listen))
        ways.append(Way(name, (balancer.target,), tuple(servers)))
    return ways


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.balance", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a measurement; default: %(default)s")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
