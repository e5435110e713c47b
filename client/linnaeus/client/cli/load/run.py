"""What `load` does once its options are parsed: runs a test and shows it, or compares two results."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from linnaeus.client.cli import output
from linnaeus.client.cli.load import tables
from linnaeus.client.cli.load.live_progress import LiveProgress
from linnaeus.client.cli.load.options import MAX_SEARCH_RATE, LoadProfile
from linnaeus.client.cli.load.result_files import check_writable, read_run, to_json, write_atomically
from linnaeus.client.errors import InvalidImage, LinnaeusError
from linnaeus.client.load import scenarios
from linnaeus.client.load.first_call import ask_connections, make_first_call
from linnaeus.client.load.plan import Plan
from linnaeus.client.load.progress import Progress
from linnaeus.client.load.report.comparison import differing_options, matching_pairs
from linnaeus.client.load.report.comparison_page import comparison_page
from linnaeus.client.load.report.failures import failures_of, reset_sentence
from linnaeus.client.load.report.metrics import (
    bottleneck_warnings,
    latency_sentence,
    result_sentence,
)
from linnaeus.client.load.report.options import format_option
from linnaeus.client.load.report.run_page import run_page
from linnaeus.client.load.results import Run

_FAILED = 1
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


@dataclass(frozen=True, slots=True)
class OutputFiles:
    """The files that are written at the end; None for no file.

    Raises:
        ValueError: if a file cannot be written, or both are the same.
    """

    json: Path | None
    page: Path | None

    def __post_init__(self) -> None:
        """Checks the files before the test runs, so that its result is not lost."""
        if self.json is not None and self.json == self.page:
            raise ValueError(f"{self.json} cannot be both the JSON file and the page")
        for path in (self.json, self.page):
            if path is not None:
                check_writable(path)


def run_load_test(plan: Plan, profile: LoadProfile, files: OutputFiles) -> int:
    """Makes one call, then runs the test and shows its result. A first call without an answer ends it with the reason.

    Returns:
        The exit status: 0 if some calls were ok and none failed or differed, 1 otherwise, 130 if interrupted.
    """
    try:
        make_first_call(plan)
        plan = plan.with_server_connections(1 if plan.connections else ask_connections(plan))
        with LiveProgress() as progress:
            run = _run(plan, profile, progress)
    except InvalidImage as error:
        output.write_error(f"{plan.pictures[0]}: {error}")
        return _FAILED
    except (LinnaeusError, OSError, scenarios.LoadFailed) as error:
        output.write_error(str(error))
        return _FAILED
    _show(run)
    return exit_status(run) if _write(run, files) else _FAILED


def compare(paths: tuple[Path, Path], files: OutputFiles, pictures: Sequence[Path]) -> None:
    """Shows two results side by side.

    Raises:
        ValueError: if something cannot be read, compared or written.
    """
    if pictures or files.json is not None:
        raise ValueError("--compare sends nothing and writes no JSON: it takes two results and, if wanted, --report")
    a, b = read_run(paths[0]), read_run(paths[1])
    pairs = matching_pairs(a, b)
    output.write_lines([f"A: {paths[0]} ({a.started_at})", f"B: {paths[1]} ({b.started_at})"])
    for each in differing_options(a, b):
        output.write_lines([f"{each.name}: A {format_option(each.a)}, B {format_option(each.b)}"])
    output.write_lines([""])
    output.write_table(tables.comparison_table(pairs[0]) if len(pairs) == 1 else tables.summary_table(pairs))
    for letter, run in (("A", a), ("B", b)):
        _write_bold(f"{letter}: {sentence}" for sentence in bottleneck_warnings(run))
    if files.page is not None:
        write_atomically(files.page, comparison_page(a, b, (str(paths[0]), str(paths[1]))))


def exit_status(run: Run) -> int:
    """Returns 0 if some calls were ok and none failed or differed, 130 if the run was interrupted, else 1."""
    if any(each.interrupted for each in run.measurements):
        return _INTERRUPTED
    has_failures = any(each.counts.failed or each.counts.differed for each in run.measurements)
    has_successes = any(each.counts.ok for each in run.measurements)
    return 0 if has_successes and not has_failures else _FAILED


def _run(plan: Plan, profile: LoadProfile, progress: Progress) -> Run:
    if profile.kind == "ramp":
        return scenarios.run_ramp(plan, profile.rates, progress)
    if profile.objective is not None and plan.rate is not None:
        return scenarios.run_search(plan, profile.objective, plan.rate, MAX_SEARCH_RATE, progress)
    return scenarios.run_single(plan, progress)


def _show(run: Run) -> None:
    if run.kind != "single" and run.measurements:
        table, left_out = tables.step_table(run, output.fits)
        output.write_table(table)
        if left_out:
            output.write_lines([f"Left out for lack of room: {', '.join(left_out)}. --report and --json have all."])
        output.write_lines([result_sentence(run)])
    for measurement in run.measurements[:1]:
        if run.kind == "single":
            output.write_table(tables.measurement_table(measurement))
        output.write_lines([latency_sentence(measurement)])
    if failures_of(run):
        output.write_lines([""])
        output.write_table(tables.failure_table(run))
        output.write_lines(filter(None, [reset_sentence(run)]))
    output.write_lines(run.notes if run.measurements else ("Nothing was measured.", *run.notes))
    _write_bold(bottleneck_warnings(run))


def _write_bold(sentences: Iterable[str]) -> None:
    console = Console(markup=False, emoji=False, highlight=False)
    for sentence in sentences:
        console.print(Text(sentence, style="bold"), soft_wrap=True)


def _write(run: Run, files: OutputFiles) -> bool:
    """Writes each file by itself: one may succeed though the other's disk is full. Returns whether both did."""
    succeeded = True
    for path, to_text in ((files.json, to_json), (files.page, run_page)):
        try:
            if path is not None:
                write_atomically(path, to_text(run))
        except OSError as error:
            output.write_error(f"{path} could not be written: {error.strerror or error}")
            succeeded = False
    return succeeded
