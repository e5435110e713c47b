"""`make attack`: what hostile callers take from good ones, and what they leave behind.

    .venv/bin/python -m benchmarks.attack [ATTACK ...] [--server-tree PATH ...] [--tokens] [--rate N] [--json FILE]

Run it from the repository's root with lenet and efficientnet_lite0 exported. Sixteen good callers send a photograph to
efficientnet_lite0 with deadlines of 500 ms, at half of what they get in a closed loop; each attack runs for 4 s beside
them, and is bounded in number. The same is sent to the control (control_server.py), a bare gRPC server that knows who
is good: what it leaves to the good callers is what the machine leaves. Goals: at least 0.90 of that; at least 0.90 of
all good calls where the attacker uses less than a tenth of a core; and goodput as before within 2 s of the last hostile
request (0.95 of it in some half second). A server that an attack has left damaged is started anew for the next one.
Everything is on loopback and shares the cores. A missed goal is printed; it does not change the exit status.

With --server-tree, servers of other source trees are measured in turns with one another, in place of this one's.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from benchmarks.attack.attacks import ATTACKS, Attack, good_message
from benchmarks.attack.contestants import Contestant, Tokens, control, linnaeus
from benchmarks.attack.good_callers import GoodLoad, closed_loop
from benchmarks.attack.hostile_load import HostileLoad, Target
from benchmarks.attack.measurement import Beside, Measurement, measure
from benchmarks.attack.report import Row, as_json, markdown_head, markdown_line
from benchmarks.common.rounds import rotated
from benchmarks.overload.environment import LARGE_MODEL, REPOSITORY, SMALL_MODEL, process_pool

GOOD_CALLERS = 16
DEADLINE_SECONDS = 0.5
SHARE_OF_CAPACITY = 0.5
CAPACITY_SECONDS, WARMUP_SECONDS = 2.0, 0.7
LASTING_GROWTH_BYTES = 64 << 20


class Bench:
    """What all attacks of a run share.

    Args:
        control: the bare server.
        servers: those that are compared with it.
        tokens: of the good callers and the attacker.
        always_tokens: whether every attack is made with tokens, not only those that need them.
        pool: one process, for the attacker.
    """

    def __init__(
        self,
        control: Contestant,
        servers: Sequence[Contestant],
        tokens: Tokens,
        always_tokens: bool,
        pool: ProcessPoolExecutor,
    ) -> None:
        self._control, self._servers = control, servers
        self._tokens, self._always_tokens = tokens, always_tokens
        self._pool = pool
        self._message = good_message()

    def capacity(self) -> float:
        """Returns the answers a second that the good callers get from the first server in a closed loop."""
        server, _ = self._servers[0].running(None)
        good = self._good(server.address, None)
        closed_loop(good, WARMUP_SECONDS)
        return closed_loop(good, CAPACITY_SECONDS)

    def rows(self, attack: Attack, rate: float, number: int) -> Iterator[Row]:
        """Measures one attack on every server; the order changes with `number`."""
        load = attack.load()
        contestants = rotated([self._control, *self._servers], number)
        measured = {each.name: self._measure(each, attack, load, rate) for each in contestants}
        beside = measured[self._control.name]
        yield Row(attack.name, self._control.name, beside, None)
        for each in self._servers:
            yield Row(attack.name, each.name, measured[each.name], beside)

    def _measure(self, contestant: Contestant, attack: Attack, load: HostileLoad, rate: float) -> Measurement:
        tokens = self._tokens if attack.without_token or self._always_tokens else None
        server, is_new = contestant.running(tokens)
        good = self._good(server.address, tokens)
        if is_new:
            closed_loop(good, WARMUP_SECONDS)
        attacker = Target(server.address, None if tokens is None or attack.without_token else tokens.attacker)
        measured = measure(load, attacker, Beside(good, rate, server.pid), self._pool)
        if _left_damage(measured):
            contestant.stop()
        return measured

    def _good(self, address: str, tokens: Tokens | None) -> GoodLoad:
        callers = [Target(address, token) for token in (tokens.good if tokens else [None] * GOOD_CALLERS)]
        return GoodLoad(tuple(callers), self._message, DEADLINE_SECONDS)


def _left_damage(measured: Measurement) -> bool:
    growth = measured.memory_after - measured.memory_before
    return measured.recovery is None or growth > LASTING_GROWTH_BYTES


def main() -> None:
    """Makes the attacks that were chosen and prints the table."""
    options = _options()
    started, rows = time.monotonic(), list[Row]()
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        bare = Contestant("control", control(_version(options.repository), good_message()))
        servers = _servers(options)
        for each in (bare, *servers):
            opened.callback(each.stop)
        tokens = Tokens(GOOD_CALLERS, folder / "tokens")
        bench = Bench(bare, servers, tokens, options.tokens, opened.enter_context(process_pool(1)))
        rate = options.rate or SHARE_OF_CAPACITY * bench.capacity()
        print(f"{rate:.1f} good calls a second of {GOOD_CALLERS} callers\n\n{markdown_head()}", flush=True)
        for number, name in enumerate(options.attacks):
            for row in bench.rows(ATTACKS[name], rate, number):
                print(markdown_line(row), flush=True)
                rows.append(row)
    print(f"\nall of it in {time.monotonic() - started:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(as_json(rows, rate), indent=1) + "\n", encoding="utf-8")


def _servers(options: argparse.Namespace) -> list[Contestant]:
    models = (LARGE_MODEL, SMALL_MODEL)
    return [Contestant(name, linnaeus(tree, options.repository, models)) for name, tree in options.trees.items()]


def _version(repository: Path) -> Path:
    versions = [folder for folder in (repository / LARGE_MODEL).iterdir() if folder.name.isdigit()]
    return max(versions, key=lambda folder: int(folder.name))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.attack", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("attacks", nargs="*", metavar="ATTACK", help=f"{', '.join(ATTACKS)}; default: all")
    parser.add_argument("--server-tree", type=Path, action="append", help="source tree of a server; may be repeated")
    parser.add_argument("--tokens", action="store_true", help="give every caller a token, the attacker too")
    parser.add_argument("--rate", type=float, default=0.0, help="good calls a second; default: half of the capacity")
    parser.add_argument("--repeat", type=int, default=1, help="times each attack is made (default: %(default)s)")
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help="of the models (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="file for all figures")
    options = parser.parse_args()
    if unknown := [name for name in options.attacks if name not in ATTACKS]:
        parser.error(f"there is no attack {unknown[0]}; there are: {', '.join(ATTACKS)}")
    if options.rate < 0 or options.repeat < 1:
        parser.error("--rate must not be below 0, and --repeat at least 1")
    options.trees = _named(options.server_tree) if options.server_tree else {"linnaeus": Path()}
    options.attacks = [name for name in options.attacks or ATTACKS for _ in range(options.repeat)]
    return options


def _named(trees: Sequence[Path]) -> dict[str, Path]:
    """Names trees by their folders, or by their whole paths where two folders have one name."""
    names = [tree.resolve().name for tree in trees]
    return {name if names.count(name) == 1 else str(tree): tree for name, tree in zip(names, trees, strict=True)}


if __name__ == "__main__":
    main()
