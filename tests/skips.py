"""A plugin that skips tests whose program or hardware is missing, and counts all skips by reason in one closing line.

With `--strict-skips` a session fails where a test was skipped for anything but hardware, or a program that neither
Debian nor a package registry has.
"""

from collections import Counter

import pytest
from tests.programs import PROGRAMS

_UNAVOIDABLE = ("hardware:", "not packaged:")
_COUNTS = pytest.StashKey[Counter[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--strict-skips`."""
    parser.addoption("--strict-skips", action="store_true", help="fail where something that can be had is missing")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips a test whose GPU or program is missing."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("hardware: a CUDA device")
    for marker in item.iter_markers("needs"):
        program = PROGRAMS[marker.kwargs["program"]]
        if not program.is_installed():
            pytest.skip(program.reason)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Counts the skips; the line itself is printed last of all."""
    config.stash[_COUNTS] = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", []))


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Prints `skipped: N` and the reasons."""
    if (counts := config.stash.get(_COUNTS, None)) is not None:
        reasons = "; ".join(f"{number} {reason}" for reason, number in counts.most_common())
        print(f"skipped: {counts.total()}" + (f" ({reasons})" if reasons else ""))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the session for an avoidable skip, where that was asked for."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not session.config.getoption("--strict-skips"):
        return
    reasons = {_reason(report) for report in reporter.stats.get("skipped", [])}
    avoidable = sorted(reason for reason in reasons if not reason.startswith(_UNAVOIDABLE))
    if avoidable:
        reporter.write_line(f"--strict-skips: these can be had, so nothing may be skipped for them: {avoidable}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _reason(report: pytest.TestReport) -> str:
    """The reason alone, of (file, line, reason)."""
    return report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else str(report.longrepr)
