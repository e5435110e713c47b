"""What `load` does once its options are read: run, show, write; or read two results, set them side by side, write.

It must not know the options' names on the command line.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from linnaeus.client.cli import output as writing
from linnaeus.client.cli.load import tables as load_tables
from linnaeus.client.cli.load.live_progress import LiveProgress
from linnaeus.client.cli.load.options import SEARCH_TO, Load, seconds
from linnaeus.client.cli.load.result_files import check_writable, json_of, read_run, write_whole
from linnaeus.client.load import load_test as running
from linnaeus.client.load.plan import Plan, expand_pictures
from linnaeus.client.load.progress import Progress
from linnaeus.client.load.report.comparison import differing_options, pairs_of
from linnaeus.client.load.report.comparison_page import comparison_page
from linnaeus.client.load.report.metrics import latency_sentence, limited_by_tester, verdict
from linnaeus.client.load.report.options import plain
from linnaeus.client.load.report.run_page import page
from linnaeus.client.load.results import Run

__all__ = ["Load", "Outputs", "Plan", "compare", "expand_pictures", "measure", "seconds"]

_FAILED = 1
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files that are written at the end; None for none.

    Raises:
        ValueError: one cannot be written, or both are the same.
    """

    json: Path | None
    page: Path | None

    def __post_init__(self) -> None:
        """Tries both while there is nothing to lose."""
        if self.json is not None and self.json == self.page:
            raise ValueError(f"{self.json} cannot be both the JSON file and the page")
        for path in (self.json, self.page):
            if path is not None:
                check_writable(path)


def measure(plan: Plan, load: Load, outputs: Outputs) -> int:
    """Runs the test and shows what it found.

    Returns:
        The exit status: 0 some calls were ok and none failed or differed, 1 otherwise, 130 interrupted.
    """
    try:
        with LiveProgress() as progress:
            run = _run(plan, load, progress)
    except (OSError, running.LoadFailed) as error:
        writing.write_error(str(error))
        return _FAILED
    _show(run)
    return exit_status(run) if _write(run, outputs) else _FAILED


def compare(paths: tuple[Path, Path], outputs: Outputs, pictures: Sequence[Path]) -> None:
    """Shows two results side by side.

    Raises:
        ValueError: something cannot be read, compared or written.
    """
    if pictures or outputs.json is not None:
        raise ValueError("--compare sends nothing and writes no JSON: it takes two results and, if wanted, --report")
    a, b = read_run(paths[0]), read_run(paths[1])
    pairs = pairs_of(a, b)
    writing.write_lines([f"A: {paths[0]} ({a.started_at})", f"B: {paths[1]} ({b.started_at})"])
    for each in differing_options(a, b):
        writing.write_lines([f"{each.name}: A {plain(each.a)}, B {plain(each.b)}"])
    writing.write_lines([""])
    single = len(pairs) == 1
    writing.write_table(load_tables.comparison_table(pairs[0]) if single else load_tables.summary_table(pairs))
    for letter, run in (("A", a), ("B", b)):
        _in_bold(f"{letter}: {sentence}" for sentence in limited_by_tester(run))
    if outputs.page is not None:
        write_whole(outputs.page, comparison_page(a, b, (str(paths[0]), str(paths[1]))))


def exit_status(run: Run) -> int:
    """0 if some calls were ok and none failed or differed, 130 if the run was interrupted, else 1."""
    if any(spell.interrupted for spell in run.spells):
        return _INTERRUPTED
    bad = any(spell.counts.failed or spell.counts.differed for spell in run.spells)
    good = any(spell.counts.ok for spell in run.spells)
    return 0 if good and not bad else _FAILED


def _run(plan: Plan, load: Load, progress: Progress) -> Run:
    if load.kind == "ramp":
        return running.run_ramp(plan, load.rates, progress)
    if load.objective is not None and plan.rate is not None:
        return running.run_search(plan, load.objective, plan.rate, SEARCH_TO, progress)
    return running.run_single(plan, progress)


def _show(run: Run) -> None:
    if run.kind != "single" and run.spells:
        writing.write_table(load_tables.step_table(run))
        writing.write_lines([verdict(run)])
    for spell in run.spells[:1]:
        if run.kind == "single":
            writing.write_table(load_tables.spell_table(spell))
        writing.write_lines([latency_sentence(spell)])
    writing.write_lines(run.notes if run.spells else ("Nothing was measured.", *run.notes))
    _in_bold(limited_by_tester(run))


def _in_bold(sentences: Iterable[str]) -> None:
    console = Console(markup=False, emoji=False, highlight=False)
    for sentence in sentences:
        console.print(Text(sentence, style="bold"), soft_wrap=True)


def _write(run: Run, outputs: Outputs) -> bool:
    """Each file by itself: the page may still be written where the other's disk is full meanwhile."""
    written = True
    for path, text_of in ((outputs.json, json_of), (outputs.page, page)):
        try:
            if path is not None:
                write_whole(path, text_of(run))
        except OSError as error:
            writing.write_error(f"{path} could not be written: {error.strerror or error}")
            written = False
    return written
