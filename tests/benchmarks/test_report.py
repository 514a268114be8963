"""The report says what the results say, asks for nothing else, runs nothing, and is the same every time."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.knee import Found, trial_row
from benchmarks.metrics import Metrics
from benchmarks.report import Written, write_report
from models.errors import ConfigurationError
from serving.cli import build
from serving.testing import FakeEngine
from tests.benchmarks.parsed import Parsed
from tests.benchmarks.stored import ARMS, calls, comparison, store_comparison, store_run, store_runs, store_search
from tests.benchmarks.test_bench import KEY, SCRIPT, Server, suite_file

HOSTILE = "<img src=x onerror=alert(1)> $\\frac$ | _x"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Metrics]:
    """Three runs of one suite; the last one with failures, and with a client that was too busy."""
    return store_runs(tmp_path_factory.mktemp("runs"), detail=HOSTILE + " \ud800")


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Found]:
    folder = tmp_path_factory.mktemp("search") / "slo"
    return folder, store_search(folder)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("compare") / "arms"
    failed, faulty = {"as-shipped": "The server did not come up in 120 s."}, ["Round 3, penstock: 2 requests failed."]
    summary = comparison(failed=failed, faulty=faulty)
    store_comparison(folder, summary)
    return folder, summary


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Written]:
    """A report of these folders beside the test."""
    return lambda *folders: write_report(list(folders), out=tmp_path / "page.html")


def test_one_run_has_the_table_of_the_run_its_distributions_and_its_time_line(
    runs: dict[Path, Metrics], made: Callable[..., Written]
) -> None:
    folder, metrics = list(runs.items())[1]
    page = Parsed(made(folder).html)
    assert metrics.ttft_ms is not None
    shown = (metrics.ttft_ms.mean, metrics.ttft_ms.p50, metrics.ttft_ms.p90, metrics.ttft_ms.p99, metrics.ttft_ms.p99_9)
    assert page.row("TTFT (ms)") == ["TTFT (ms)", f"{metrics.ttft_ms.count:,}", *(f"{value:,.1f}" for value in shown)]
    assert [label.split(".")[0].split(" over")[0] for label in page.pictures] == [
        "Cumulative distribution of TTFT",
        "Cumulative distribution of ITL",
        "Requests in flight",
        "Tokens per second",
    ]
    assert f"{metrics.tokens_per_s:,.1f} tokens/s" in page.text
    assert "Nothing failed" in page.text


def test_several_runs_are_points_of_a_curve_with_the_figures_of_their_summaries(
    runs: dict[Path, Metrics], made: Callable[..., Written]
) -> None:
    written = made(*reversed(runs))
    page = Parsed(written.html)
    for folder, clients in zip(runs, (1, 4, 16), strict=True):
        found = json.loads((folder / "summary.json").read_text())
        latencies = [found[name][p] for name in ("ttft_ms", "tpot_ms") for p in ("p50", "p99")]
        speed = [f"{found['completed']:,}", f"{found['requests_per_s']:,.2f}", f"{found['tokens_per_s']:,.1f}"]
        row = page.row(folder.name, f"{clients} client{'s' * (clients > 1)}")
        assert row[2:] == [*speed, *(f"{value:,.1f}" for value in latencies)]
        assert f"| {' | '.join(row)} |" in written.markdown.read_text()
    assert any(label.startswith("TTFT over output tokens per second at 3 loads") for label in page.pictures)


def test_the_samples_of_the_distributions_are_those_of_the_summary(
    runs: dict[Path, Metrics], made: Callable[..., Written]
) -> None:
    page = Parsed(made(*runs).html)
    for folder, metrics in runs.items():
        for word, found in (("TTFT", metrics.ttft_ms), ("ITL", metrics.itl_ms)):
            assert found is not None
            row = page.row(f"{word}, {folder.name}")
            assert row[1:4] == [f"{found.count:,}", f"{found.mean:,.1f}", f"{found.p50:,.1f}"]


def test_what_failed_and_what_is_in_doubt_stands_at_the_top(
    runs: dict[Path, Metrics], made: Callable[..., Written]
) -> None:
    written = made(list(runs)[-1])
    page = Parsed(written.html)
    errors = runs[list(runs)[-1]].errors["status 503"]
    top = page.text.split("Distributions")[0]
    assert f"Failed: {errors} × status 503. The first said: <img src=x" in top
    assert "Beware: this client used 95% of its core" in top
    assert any(label.startswith("Failed requests over") for label in page.pictures)
    assert sum(int(row[3]) for row in page.rows if re.match(r"\d+\.\d–", row[0])) >= errors


def test_a_run_that_was_cut_short_without_an_answer_is_a_page_that_says_so(
    tmp_path: Path, made: Callable[..., Written]
) -> None:
    nothing = calls(2, seconds=2.0)[:3]
    for call in nothing:
        call.error, call.chunks_s = "unreachable", []
    store_run(tmp_path / "cut", nothing, stopped="the target does not answer any more")
    page = Parsed(made(tmp_path / "cut").html)
    assert "Not complete: the target does not answer any more." in page.text
    assert not any("distribution" in label for label in page.pictures)


def test_runs_without_their_calls_still_make_the_curve(runs: dict[Path, Metrics], tmp_path: Path) -> None:
    kept = [shutil.copytree(folder, tmp_path / folder.name) for folder in runs]
    for folder in kept:
        (folder / "calls.jsonl.gz").unlink()
    page = Parsed(write_report(kept, out=tmp_path / "page.html").html)
    assert page.text.count("no raw calls lie beside the figures") == 3
    assert [label.split(" over")[0] for label in page.pictures] == ["TTFT", "TPOT", "Goodput"]


def test_a_search_shows_its_trials_its_objective_and_its_knee(
    search: tuple[Path, Found], made: Callable[..., Written]
) -> None:
    folder, found = search
    page = Parsed(made(folder).html)
    assert [row for row in page.rows if len(row) == 5 and "met" in row[4]] == list(
        map(list, map(trial_row, found.knee.trials))
    )
    assert f"the knee is at {found.knee.rate:.2f} requests per second" in page.pictures[0]
    for mark in (f"knee {found.knee.rate:.2f}/s", "objective 99.0%"):
        assert mark in page.text
    assert "TTFT ≤ 200 ms, TPOT ≤ 50 ms" in page.text


def test_a_comparison_shows_every_arm_with_the_figures_of_its_summary(
    compared: tuple[Path, dict[str, Any]], made: Callable[..., Written]
) -> None:
    folder, summary = compared
    page = Parsed(made(folder).html)
    assert len(summary["rows"]) == 9
    for row in summary["rows"]:
        speed = [f"{row['tokens_per_s']:,.1f}", f"{row['requests_per_s']:,.2f}", f"{row['ttft_ms_p50']:,.1f}"]
        assert page.row(row["arm"], row["load"], "5")[3:6] == speed
        for other, of in row["versus"].items():
            ratio = of["throughput"]
            said = f"{ratio['median']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]"
            assert page.row(f"{row['arm']} / {other}", row["load"])[2] == said


def test_a_comparison_names_at_the_top_what_did_not_start_and_what_counts_in_no_figure(
    compared: tuple[Path, dict[str, Any]], made: Callable[..., Written]
) -> None:
    written = made(compared[0])
    page = Parsed(written.html)
    top = page.text.split("Latency and throughput")[0]
    assert "Not measured: as-shipped: The server did not come up in 120 s." in top
    assert "Counts in no figure: Round 3, penstock: 2 requests failed." in top
    assert page.row("as-shipped (not measured)")[1:] == ["—"] * 7
    assert "**Not measured:** as-shipped" in written.markdown.read_text()


def test_the_budget_of_stages_has_its_closing_line(
    compared: tuple[Path, dict[str, Any]], made: Callable[..., Written]
) -> None:
    page = Parsed(made(compared[0]).html)
    assert page.row("forward") == ["forward", "0.950", "45%", "the forward"]
    assert page.row("through − direct") == ["through − direct", "2.200", "—", "as the clients saw it"]
    assert any("sum 2.11 ms, measured from outside 2.2 ms" in label for label in page.pictures)
    assert "The sum is 4.1% away from it." in page.text


def test_a_comparison_without_its_optional_parts_is_a_page(tmp_path: Path, made: Callable[..., Written]) -> None:
    summary = comparison(stages=None)
    for row in summary["rows"]:
        row["versus"] = {}
        row |= dict.fromkeys(("cpu_s_per_1000_requests", "front_cpu_us_per_chunk", "memory_bytes"))
        row["ttft_ms_p99"] = float("nan")
    del summary["stages"], summary["faulty"], summary["failed"]
    store_comparison(tmp_path / "arms", summary)
    page = Parsed(made(tmp_path / "arms").html)
    assert not {"Ratios", "What it costs", "Where the time goes"} & set(page.text.split("\n"))
    assert page.row("penstock", "4 clients")[6] == "—"
    assert {label.split(" ")[0] for label in page.pictures} == {"TTFT,", "TPOT", "Cumulative"}


@pytest.mark.parametrize("kind", ["runs", "search", "compared"])
def test_a_page_is_complete_in_itself_and_runs_nothing(
    kind: str, request: pytest.FixtureRequest, made: Callable[..., Written]
) -> None:
    found = request.getfixturevalue(kind)
    written = made(*found) if kind == "runs" else made(found[0])
    page = Parsed(written.html)
    assert not {"script", "iframe", "object", "img", "form", "a", "base"} & {tag for tag, _ in page.elements}
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "xlink:href", "action", "data"):
            assert str(attributes.get(name) or "#").startswith(("#", "data:,")), (tag, name)
    assert not re.findall(r"url\((?!#)|@import", written.html.read_text())
    assert "default-src 'none'" in str(page.named("meta"))


@pytest.mark.parametrize("kind", ["runs", "search", "compared"])
def test_every_picture_has_a_caption_a_description_and_a_table(
    kind: str, request: pytest.FixtureRequest, made: Callable[..., Written]
) -> None:
    found = request.getfixturevalue(kind)
    page = Parsed((made(*found) if kind == "runs" else made(found[0])).html)
    figures, identities = page.named("figure"), [str(one["id"]) for _, one in page.elements if "id" in one]
    assert len(figures) == len(page.named("figcaption")) == len(page.named("table")) - len(page.named("details")) >= 2
    assert {figure["aria-labelledby"] for figure in figures} <= set(identities)
    assert len(identities) == len(set(identities)), "two pictures share no name"
    assert all(len(label) > 20 for label in page.pictures)


def test_what_servers_and_files_say_is_text_and_nothing_else(tmp_path: Path, made: Callable[..., Written]) -> None:
    bad = calls(2, seconds=6.0, model=HOSTILE)
    bad[3].error, bad[3].detail = HOSTILE, HOSTILE
    store_run(tmp_path / "<b>run", bad, model=HOSTILE, suite=HOSTILE, target=HOSTILE, stopped=HOSTILE)
    store_run(tmp_path / "other", bad, model=HOSTILE + "2", suite=HOSTILE, target=HOSTILE)
    written = made(tmp_path / "<b>run", tmp_path / "other")
    page = Parsed(written.html)
    assert not page.named("img")
    assert not page.named("b")
    assert page.text.count("<img src=x onerror=alert(1)>") > 5
    assert not re.search(r"(?<!\\)<img|(?<!\\)<b>", written.markdown.read_text())


def test_the_names_of_arms_are_text_in_pictures_too(tmp_path: Path, made: Callable[..., Written]) -> None:
    text = json.dumps(comparison(failed={HOSTILE: HOSTILE}, faulty=[HOSTILE])).replace("penstock", "<svg onload=x>_&")
    store_comparison(tmp_path / "arms", json.loads(text))
    page = Parsed(made(tmp_path / "arms").html)
    assert not any("onload" in attributes for _, attributes in page.elements)
    assert "<svg onload=x>_& · 16" in page.text
    assert not page.named("img")


def test_the_same_results_make_the_same_page_byte_for_byte(
    runs: dict[Path, Metrics], search: tuple[Path, Found], compared: tuple[Path, Any], tmp_path: Path
) -> None:
    code = "import sys; from pathlib import Path; from benchmarks.report import write_report as w; "
    code += "w([Path(a) for a in sys.argv[2:]], out=Path(sys.argv[1]))"
    for folders in (list(runs), [search[0]], [compared[0]]):
        first = write_report(folders, out=tmp_path / "first.html")
        command = [sys.executable, "-c", code, str(tmp_path / "again.html"), *map(str, folders)]
        subprocess.run(command, check=True, timeout=120)
        assert first.html.read_bytes() == (tmp_path / "again.html").read_bytes()
        assert first.markdown.read_bytes() == (tmp_path / "again.md").read_bytes()


def test_what_the_commands_themselves_leave_is_read(tmp_path: Path) -> None:
    server, suite = Server(FakeEngine(SCRIPT, token=KEY)), str(suite_file(tmp_path))
    place = ["--target", server.url, "--key", KEY, "--model", "fake", "--out"]
    limits = ["--ttft", "2s", "--start", "50", "--most", "50", "--trial", "1s"]
    for name, more in (("run", []), ("slo", limits)):
        done = CliRunner().invoke(build(["bench"]), ["bench", name, suite, *place, str(tmp_path / name), *more])
        assert done.exit_code == 0, done.output
        assert write_report([tmp_path / name]).page.kind == name
    server.end()


def refused(*folders: Path, out: Path | None = None) -> str:
    with pytest.raises(ConfigurationError) as error:
        write_report(folders, out=out)
    return error.value.public


def test_what_is_no_result_is_a_sentence(runs: dict[Path, Metrics], tmp_path: Path) -> None:
    run = shutil.copytree(next(iter(runs)), tmp_path / "run")
    assert "is no folder" in refused(tmp_path / "nowhere")
    assert "is no folder" in refused(run / "table.md")
    (run / "summary.json").write_text('{"window_s": 1')
    assert "summary.json' cannot be read" in refused(run)
    (run / "summary.json").write_text("[]")
    assert "holds no JSON object" in refused(run)
    (run / "summary.json").write_text('{"rows": [], "date": 1}')
    assert "holds no result of `penstock bench run`, `slo` or `compare`" in refused(run)
    (run / "summary.json").write_text('{"window_s": "long", "tokens_per_s": 1}')
    assert "summary.json': window_s: " in refused(run)
    (run / "origin.json").unlink()
    assert "is not a result: it has no origin.json" in refused(run)


@pytest.mark.parametrize("text", [b"no gzip", b"\x1f\x8b\x08\x00broken"])
def test_calls_that_cannot_be_read_are_a_sentence(runs: dict[Path, Metrics], tmp_path: Path, text: bytes) -> None:
    run = shutil.copytree(next(iter(runs)), tmp_path / "run")
    (run / "calls.jsonl.gz").write_bytes(text)
    assert "calls.jsonl.gz' cannot be read" in refused(run)
    assert not (run / "report.html").exists()


def test_results_that_do_not_belong_together_are_refused(
    runs: dict[Path, Metrics], search: tuple[Path, Found], tmp_path: Path
) -> None:
    run = next(iter(runs))
    assert "results of several kinds: run, slo" in refused(run, search[0])
    assert "named twice" in refused(run, run / ".")
    store_run(tmp_path / "other", calls(1, seconds=6.0), suite="soak")
    assert "runs of several suites: chat-short, soak" in refused(run, tmp_path / "other")


def test_a_page_replaces_no_table_of_a_result(runs: dict[Path, Metrics], tmp_path: Path) -> None:
    run = next(iter(runs))
    assert "would replace the result's own table.md" in refused(run, out=run / "table.html")
    assert "does not end in .html" in refused(run, out=tmp_path / "page.txt")


def bench(*arguments: str | Path) -> Any:
    return CliRunner().invoke(build(["bench"]), ["bench", "report", *map(str, arguments)])


def test_the_command_writes_beside_the_first_result_and_says_where(runs: dict[Path, Metrics], tmp_path: Path) -> None:
    run = shutil.copytree(next(iter(runs)), tmp_path / "run")
    done = bench(run)
    assert done.exit_code == 0, done.output
    assert done.stdout.split() == [str(run / "report.html"), str(run / "report.md")]
    assert all(Path(name).exists() for name in done.stdout.split())
    assert bench(run, "--out", tmp_path / "new" / "page.html").exit_code == 0
    assert (tmp_path / "new" / "page.md").exists()


def test_with_json_the_command_prints_paths_and_figures(runs: dict[Path, Metrics], tmp_path: Path) -> None:
    done = bench(*runs, "--out", tmp_path / "page.html", "--json")
    found = json.loads(done.stdout)
    assert (found["kind"], found["html"], found["markdown"]) == (
        "run",
        str(tmp_path / "page.html"),
        str(tmp_path / "page.md"),
    )
    summaries = {folder.name: json.loads((folder / "summary.json").read_text()) for folder in runs}
    assert {one["folder"]: one["figures"] for one in found["results"]} == summaries
    assert any(notice.startswith("Failed: at-16: ") for notice in found["notices"])


def test_no_other_command_loads_what_draws() -> None:
    code = "import sys, serving.cli; serving.cli.build(); print('matplotlib' in sys.modules, 'jinja2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split()[0] == "False"


def test_without_matplotlib_the_extra_is_named(search: tuple[Path, Found]) -> None:
    code = "import sys; sys.modules['matplotlib'] = None; from serving.cli import main; main()"
    command = [sys.executable, "-c", code, "bench", "report", str(search[0])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr.count("install the extra 'bench'")) == (1, 1)


def browser(page: Path, profile: Path, *options: str) -> bytes:
    quiet = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", *quiet, f"--user-data-dir={profile}"]
    done = subprocess.run([*command, *options, page.as_uri()], capture_output=True, timeout=120, check=True)
    return done.stdout


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on PATH")
def test_a_browser_shows_the_page_with_its_figures(
    compared: tuple[Path, dict[str, Any]], made: Callable[..., Written], tmp_path: Path
) -> None:
    from PIL import Image

    page, shot = made(compared[0]).html, tmp_path / "page.png"
    browser(page, tmp_path / "profile", f"--screenshot={shot}", "--window-size=1280,4000", "--hide-scrollbars")
    with Image.open(shot) as image:
        small = image.convert("RGB").resize((64, 200))
        assert image.size == (1280, 4000)
    inked = [row for row in range(200) if len({small.getpixel((x, row)) for x in range(64)}) > 1]
    assert len(inked) > 100, "text and pictures from top to bottom"
    dom = browser(page, tmp_path / "profile", "--dump-dom").decode()
    assert dom.count("<figure") == len(Parsed(page).named("figure"))
    for row in compared[1]["rows"]:
        assert f">{row['tokens_per_s']:,.1f}<" in dom


def cells(rows: Sequence[Sequence[str]]) -> set[str]:
    return {cell for row in rows for cell in row}


def test_the_markdown_beside_the_page_has_the_same_cells(
    compared: tuple[Path, dict[str, Any]], made: Callable[..., Written]
) -> None:
    written = made(compared[0])
    lines = [line for line in written.markdown.read_text().splitlines() if line.startswith("| ")]
    theirs = {cell.strip().replace("\\", "") for line in lines for cell in line.strip("| ").split(" | ")}
    figures = {cell for cell in cells(Parsed(written.html).rows) if re.fullmatch(r"[\d,.]+( \[.*\])?", cell)}
    assert len(figures) > 60
    assert figures <= theirs
    assert set(ARMS) <= theirs
