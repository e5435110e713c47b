"""Reads costs.toml: what a simulated replica costs, and where each figure is from."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.simulation.replica import Machine, SimulatedModel

FILE = Path(__file__).with_name("costs.toml")
NETWORK = "network"


@dataclass(frozen=True, slots=True)
class Network:
    """The seconds from a balancer to a replica, and where that is from."""

    one_way_seconds: float
    source: str


@dataclass(frozen=True, slots=True)
class Costs:
    """The costs of one kind of replica.

    Attributes:
        what: in words.
        machine: what a replica runs on; callers are elsewhere.
        caller_seconds: processor time of the load generator for a call, where it shares the cores.
        units: how many cores or devices a replica takes.
        unit: which of the two.
        sources: where each figure is from.
        found: what was measured of a server: "capacity", and "in_time" by load; empty for nothing.
    """

    what: str
    machine: Machine
    caller_seconds: float
    units: int
    unit: str
    sources: Mapping[str, str]
    found: Mapping[str, Any]

    @property
    def beside_callers(self) -> Machine:
        """The machine with the load generator on the same cores, as benchmarks of one machine have it."""
        return replace(self.machine, call_seconds=self.machine.call_seconds + self.caller_seconds)


def read_costs(path: Path = FILE) -> dict[str, Costs]:
    """Returns the kinds of replicas by name."""
    tables = _tables(path)
    return {name: _costs(name, table) for name, table in tables.items() if name != NETWORK}


def network(path: Path = FILE) -> Network:
    """Returns the network between balancers and replicas."""
    return Network(**_tables(path)[NETWORK])


def _tables(path: Path) -> dict[str, dict[str, Any]]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _costs(name: str, table: Mapping[str, Any]) -> Costs:
    batches = {int(size): float(seconds) for size, seconds in table["batch_seconds"].items()}
    machine = Machine(
        {name: SimulatedModel(batches, table["decode_seconds"])},
        workers=table["workers"],
        decoders=table["decoders"],
        noise=table["noise"],
        call_seconds=table["call_seconds"],
        shared_cores=table["cores"],
    )
    units, unit = (table["devices"], "device") if "devices" in table else (table["cores"], "core")
    return Costs(table["what"], machine, table["caller_seconds"], units, unit, table["sources"], table.get("found", {}))
