"""`linnaeus-client load`: options, output, files and exit status."""

import dataclasses
import io
import json

import pytest
from rich.console import Console

from linnaeus.client.cli import output
from linnaeus.client.cli.load.live_progress import LiveProgress
from linnaeus.client.cli.load.options import parse_duration
from linnaeus.client.cli.load.result_files import read_run, write_atomically
from linnaeus.client.cli.load.tables import step_table
from linnaeus.client.load import scenarios
from linnaeus.client.load.plan import Plan
from linnaeus.client.load.progress import Snapshot
from linnaeus.client.load.report.step_rows import HEADINGS
from linnaeus.client.load.results import QueueTrend


@pytest.fixture
def picture(pictures):
    return pictures("cat.jpg")[0]


@pytest.fixture
def load_tester(monkeypatch, make_measurement, make_run):
    """Replaces the load tester: records the plan, returns `run`."""

    class FakeLoadTester:
        run = make_run(make_measurement())
        plan = None
        extras = ()

        def answer(self, plan, *extras):
            self.plan, self.extras = plan, extras[:-1]
            if isinstance(self.run, Exception):
                raise self.run
            return self.run

    fake = FakeLoadTester()
    for name in ("run_single", "run_ramp", "run_search"):
        monkeypatch.setattr(scenarios, name, fake.answer)
    return fake


def test_a_server_under_load_is_measured(run_command, picture, tmp_path):
    files = ["--json", tmp_path / "run.json", "--report", tmp_path / "run.html"]
    load = ["--concurrency", 2, "--duration", "300ms", "--warmup", 0, "--metrics", ""]
    ending = run_command("load", picture, *load, *files)
    run = read_run(tmp_path / "run.json")
    assert (ending.exit_code, ending.errors) == (0, "")
    assert run.measurements[0].counts.ok == run.measurements[0].counts.sent > 0
    assert f"sent {run.measurements[0].counts.sent:,}   ok {run.measurements[0].counts.ok:,}" in ending.output
    assert "2 callers for" in ending.output
    assert (tmp_path / "run.html").read_text().count("<svg") == 3


def test_every_option_reaches_the_plan(run_command, load_tester, picture, stub):
    options = "--rate 50 --arrivals constant --deadline 200ms --model lenet --version 3 --top-k 5 --cancel-rate 0.1"
    options += " --corrupt-rate 0.2 --priority high --rpc batch --batch-size 4 --connections 2 --duration 2m"
    options += " --warmup 5s --processes 2 --max-in-flight 99 --metrics http://localhost:1/metrics --seed 7"
    assert run_command("load", picture, *options.split()).exit_code == 0
    assert load_tester.plan == Plan(
        target=stub.target,
        pictures=load_tester.plan.pictures,
        model="lenet",
        version="3",
        top_k=5,
        rate=50.0,
        arrivals="constant",
        duration_seconds=120.0,
        warmup_seconds=5.0,
        deadline_seconds=0.2,
        cancel_rate=0.1,
        corrupt_rate=0.2,
        priority="high",
        rpc="batch",
        batch_size=4,
        connections=2,
        processes=2,
        max_in_flight=99,
        metrics_url="http://localhost:1/metrics",
        seed=7,
    )
    assert [str(path) for path in load_tester.plan.pictures] == [picture]


def test_the_default_load_is_sixteen_callers(run_command, load_tester, picture):
    run_command("load", picture)
    assert (load_tester.plan.concurrency, load_tester.plan.rate, load_tester.plan.deadline_seconds) == (16, None, 30.0)


def test_the_default_deadline_is_the_timeout(run_command, load_tester, picture):
    run_command("--timeout", 5, "load", picture)
    assert load_tester.plan.deadline_seconds == 5.0


def test_a_ramp_tries_its_rates(run_command, load_tester, make_measurement, make_run, picture):
    load_tester.run = make_run(
        make_measurement(rate=10.0), make_measurement(rate=20.0), make_measurement(rate=30.0, late=900), knee=20.0
    )
    ending = run_command("load", picture, "--ramp", "10:30:3")
    assert load_tester.extras == ((10.0, 20.0, 30.0),)
    assert "20.0 calls/s is the highest rate that was still served in full" in ending.output
    assert [line.split()[:2] for line in ending.output.splitlines() if "knee" in line][0] == ["20.0", "knee"]


@pytest.mark.parametrize(
    ("width", "shown", "left_out"),
    [
        (200, HEADINGS, ()),
        (
            80,
            ("calls/s", "", "sent", "late", "refused", "failed", "goodput/s", "p50 ms", "p99 ms"),
            ("ok", "p90 ms", "p99.9 ms", "max ms", "batch", "busy"),
        ),
        (60, ("calls/s", "", "refused", "goodput/s", "p50 ms", "p99 ms"), ...),
        (10, ("calls/s", "", "goodput/s", "p50 ms", "p99 ms"), ...),
    ],
)
def test_a_narrow_terminal_keeps_the_columns_that_matter(make_measurement, make_run, width, shown, left_out):
    console = Console(file=io.StringIO(), width=width, markup=False, emoji=False, highlight=False)

    def fits(table):
        return console.measure(table, options=console.options.update(max_width=10_000)).maximum <= width

    growing = dataclasses.replace(
        make_measurement(rate=1500.0, refused=104), queue=QueueTrend(True, 0.2, 4, 1200, 1010.0, None)
    )
    table, missing = step_table(make_run(make_measurement(rate=900.0), growing, knee=900.0), fits)
    assert tuple(str(column.header) for column in table.columns) == shown
    assert left_out in (..., tuple(missing)) and {*shown, *missing} == set(HEADINGS)
    console.print(table)
    assert width < 60 or ("…" not in console.file.getvalue() and "queue grows" in console.file.getvalue())


def test_the_terminal_says_which_columns_it_left_out(
    run_command, load_tester, make_measurement, make_run, picture, monkeypatch
):
    load_tester.run = make_run(make_measurement(rate=10.0), make_measurement(rate=20.0), knee=20.0)
    assert "Left out" not in run_command("load", picture, "--ramp", "10:20:2").output
    monkeypatch.setattr(output, "_console", lambda: Console(width=80))
    assert "Left out for lack of room: ok, p90 ms" in run_command("load", picture, "--ramp", "10:20:2").output


@pytest.mark.parametrize(("start", "lowest"), [([], 10.0), (["--rate", "40"], 40.0)])
def test_a_search_begins_at_the_given_rate(
    run_command, load_tester, make_measurement, make_run, picture, start, lowest
):
    load_tester.run = make_run(make_measurement(rate=80.0), kind="search", objective="p99<100ms", found_rate=80.0)
    ending = run_command("load", picture, "--search", "p99<100ms", *start)
    assert load_tester.extras[0].text == "p99<100ms"
    assert load_tester.extras[1] == load_tester.plan.rate == lowest
    assert "80.0 calls/s is the highest rate found that met p99<100ms." in ending.output


WRONG = [
    ([], "there is no picture to send"),
    (["PICTURE", "--rate", "5", "--concurrency", "2"], "--concurrency and --rate exclude each other"),
    (["PICTURE", "--rate", "5", "--ramp", "1:5:3"], "--ramp and --rate exclude each other"),
    (["PICTURE", "--ramp", "5:1:3"], "FROM must be above 0 and below TO"),
    (["PICTURE", "--search", "fast"], "'fast' is no objective"),
    (["PICTURE", "--duration", "0"], "--duration is 0.0: it must be above 0"),
    (["PICTURE", "--cancel-rate", "2"], "--cancel-rate is 2.0: it is a share"),
    (["PICTURE", "--search", "p99<1s", "--rate", "0"], "--rate is 0"),
    (["PICTURE", "--duration", "soon"], "'soon' is no time"),
    (["PICTURE", "--rate", "-5"], "the rate is -5"),
    (["PICTURE", "--rate", "many"], "--rate"),
    (["PICTURE", "--rpc", "carrier"], "it is one of unary, batch, stream"),
    (["PICTURE", "--unknown"], "--unknown"),
    (["PICTURE", "--json", "missing/run.json"], "missing/run.json cannot be written: No such file or directory"),
    (["PICTURE", "--report", "."], "cannot be written: it is a folder"),
    (["PICTURE", "--json", "one", "--report", "one"], "both the JSON file and the page"),
    (["missing.jpg"], "missing.jpg is neither a file nor a folder"),
    (["--compare", "a.json"], "--compare"),
    (["--compare", "a.json", "b.json"], "a.json cannot be read: No such file or directory"),
    (["PICTURE", "--compare", "a.json", "b.json"], "--compare sends nothing"),
]


@pytest.mark.parametrize(("arguments", "sentence"), WRONG)
def test_wrong_usage_is_one_line_and_sends_nothing(
    run_command, load_tester, picture, tmp_path, monkeypatch, arguments, sentence
):
    monkeypatch.chdir(tmp_path)
    ending = run_command("load", *(picture if each == "PICTURE" else each for each in arguments))
    assert (ending.exit_code, ending.output) == (2, "")
    assert sentence in ending.errors
    assert ending.errors.startswith("linnaeus-client: ") and ending.errors.count("\n") == 1
    assert load_tester.plan is None
    assert [path.name for path in tmp_path.iterdir()] == ["cat.jpg"]


@pytest.mark.parametrize(
    ("text", "value"), [("10s", 10), ("500ms", 0.5), ("2m", 120), ("1.5", 1.5), (" 1h ", 3600), (".5s", 0.5)]
)
def test_durations_are_parsed(text, value):
    assert parse_duration(text) == value


@pytest.mark.parametrize(
    ("counts", "status"), [({}, 0), ({"late": 5, "refused": 5}, 0), ({"failed": 1}, 1), ({"differed": 1}, 1)]
)
def test_the_exit_status_shows_whether_calls_failed(
    run_command, load_tester, make_measurement, make_run, picture, counts, status
):
    load_tester.run = make_run(make_measurement(**counts))
    assert run_command("load", picture).exit_code == status


def test_a_run_without_a_successful_call_failed(run_command, load_tester, make_measurement, make_run, picture):
    load_tester.run = make_run(make_measurement(milliseconds=(), refused=100))
    assert run_command("load", picture).exit_code == 1


def test_an_interrupted_run_still_writes_its_report(
    run_command, load_tester, make_measurement, make_run, interrupted, picture, tmp_path
):
    load_tester.run = make_run(interrupted(make_measurement()))
    files = ["--json", tmp_path / "run.json", "--report", tmp_path / "run.html"]
    ending = run_command("load", picture, *files)
    assert ending.exit_code == 130
    assert "sent 1,000" in ending.output
    assert read_run(tmp_path / "run.json") == load_tester.run
    assert "interrupted" in (tmp_path / "run.html").read_text()


@pytest.mark.parametrize("error", [scenarios.LoadFailed("a process of the tester died"), OSError(5, "Broken disk")])
def test_a_failure_of_the_load_tester_is_one_line(run_command, load_tester, picture, error):
    load_tester.run = error
    ending = run_command("load", picture)
    assert (ending.exit_code, ending.output, ending.errors) == (1, "", f"linnaeus-client: {error}\n")


def test_a_load_tester_that_was_the_bottleneck_says_so(run_command, load_tester, make_measurement, make_run, picture):
    load_tester.run = make_run(make_measurement(limit="it was busy 99 % of the time"))
    assert "The tester was the limit: it was busy 99 % of the time\n" in run_command("load", picture).output


def test_results_are_compared_without_a_server(run_command, load_tester, make_measurement, make_run, tmp_path):
    for name, latencies in (("a.json", range(1, 1001)), ("b.json", range(2, 2002, 2))):
        run = make_run(make_measurement(milliseconds=tuple(latencies)), options={"model": name})
        (tmp_path / name).write_text(json.dumps(run.to_dict()))
    both = [tmp_path / "a.json", tmp_path / "b.json"]
    ending = run_command("load", "--compare", *both, "--report", tmp_path / "difference.html")
    assert (ending.exit_code, ending.errors, load_tester.plan) == (0, "", None)
    assert "model: A a.json, B b.json" in ending.output
    (row,) = (line.split() for line in ending.output.splitlines() if line.startswith("latency p50"))
    assert row == ["latency", "p50", "ms", "500", "1,000", "2.00"]
    assert "Latency distribution" in (tmp_path / "difference.html").read_text()


@pytest.mark.parametrize("content", ["{}", "[]", "no JSON", '{"format": 1}', '{"format": 99, "spells": []}'])
def test_a_file_that_is_no_result_is_named(run_command, tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    ending = run_command("load", "--compare", tmp_path / "a.json", tmp_path / "a.json")
    assert ending.exit_code == 2
    assert ending.errors.startswith(f"linnaeus-client: {tmp_path / 'a.json'} is no result of a load test: ")
    assert ending.errors.count("\n") == 1


def test_a_corrupt_histogram_is_no_result(run_command, make_measurement, make_run, tmp_path):
    plain = make_run(make_measurement()).to_dict()
    plain["spells"][0]["latency"]["histogram"] = "spoilt"
    (tmp_path / "a.json").write_text(json.dumps(plain))
    ending = run_command("load", "--compare", tmp_path / "a.json", tmp_path / "a.json")
    assert (ending.exit_code, ending.errors.count("\n")) == (2, 1)


def test_a_file_is_replaced_atomically(tmp_path):
    target = tmp_path / "run.json"
    target.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(target, "new \ud800")
    assert target.read_text() == "old"
    with target.open() as reader:
        write_atomically(target, "new")
        assert reader.read() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("missing", ["hdrh", "prometheus_client", "matplotlib"])
def test_a_missing_extra_is_one_line_before_anything_is_sent(run_command, load_tester, picture, monkeypatch, missing):
    monkeypatch.setattr("linnaeus.client.cli.load.command._EXTRA", (f"{missing}.gone",))
    ending = run_command("load", picture)
    assert (ending.exit_code, ending.output, load_tester.plan) == (1, "", None)
    assert ending.errors == f"linnaeus-client needs {missing}: pip install 'linnaeus[load]'\n"


def snapshot(elapsed, phase="measuring"):
    return Snapshot(elapsed, phase, 1200, 1190, 4, 3, 3, 16, 99.4, 0.0123, None)


def plan(picture):
    return Plan(target="localhost:8001", pictures=(picture,), rate=100.0, duration_seconds=30.0)


def test_without_a_terminal_there_is_a_line_every_ten_seconds(picture, capsys):
    with LiveProgress(Console(file=io.StringIO())) as progress:
        progress.measurement_started(plan(picture), 2, 5)
        for half_seconds in range(-2, 60):
            progress.update(snapshot(half_seconds / 2))
    errors = capsys.readouterr().err.splitlines()
    assert [line.split(", ")[2] for line in errors] == ["9 of 30 s", "19 of 30 s", "29 of 30 s"]
    assert errors[0].startswith("step 2 of 5: 100 calls/s, measuring, 9 of 30 s, sent 1,200  ok 1,190  late 4  ")
    assert errors[0].endswith("refused 3  failed 3  99.4 calls/s  in flight 16  p50 12.3 ms  p99 –")


def test_a_terminal_is_updated_in_place(picture, capsys, make_measurement, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    written = io.StringIO()
    with LiveProgress(Console(file=written, force_terminal=True, width=120)) as progress:
        progress.measurement_started(plan(picture), 1, 1)
        progress.update(snapshot(-0.4, "warmup"))
        progress.update(snapshot(3.0))
        progress.measurement_ended(make_measurement())
    assert "warming up" in written.getvalue() and "3 of 30 s" in written.getvalue()
    assert "done" not in written.getvalue()
    assert capsys.readouterr() == ("", "")


def test_the_result_of_a_step_stays_visible(picture, capsys, make_measurement):
    with LiveProgress(Console(file=io.StringIO())) as progress:
        progress.measurement_started(plan(picture), 3, None)
        progress.measurement_ended(make_measurement())
    assert capsys.readouterr().err == "step 3: 100 calls/s done: goodput 100/s  p50 500 ms  p99 990 ms\n"
