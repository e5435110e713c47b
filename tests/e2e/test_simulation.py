"""The commands of docs/replicas.md run, with small sizes: the simulation, its validation, the measuring of costs."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests.pages import ROOT, shell_commands

PAGE = ROOT / "docs" / "replicas.md"
SIMULATION = "benchmarks.simulation"
# What a command takes besides, so that it ends within seconds, and what it must print.
SMALL = {
    SIMULATION: ("--replicas 1 2 --loads 0.8 --compared 2 --seconds 0.1 --plot FOLDER/replicas.png", "COMPUTED"),
    f"{SIMULATION}.validation": ("--servers 1 --loads 0.5 --seconds 0.5 --rounds 1", "Simulated against measured"),
    f"{SIMULATION}.measure_costs": ("--rounds 0 --repository REPOSITORY", "batch_seconds = { 1 = "),
}
COMMANDS = [shlex.split(command)[2:] for page, command in shell_commands() if page == PAGE and " -m " in command]


def test_the_page_names_every_command_of_the_simulation() -> None:
    assert {module for module, *_ in COMMANDS} == set(SMALL)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_of_the_page_runs(command: list[str], repository: Path, tmp_path: Path) -> None:
    options, printed = SMALL[command[0]]
    small = options.replace("FOLDER", str(tmp_path)).replace("REPOSITORY", str(repository))
    ran = subprocess.run(
        [sys.executable, "-m", *command, *shlex.split(small)], cwd=ROOT, capture_output=True, text=True, timeout=110
    )
    assert ran.returncode == 0, ran.stderr
    assert printed in ran.stdout
