"""Every figure of the README comes from a stored result."""

import json
from pathlib import Path

import pytest

from benchmarks.figures import loose_figures, rendered
from benchmarks.origin import REPOSITORY

ESTIMATE = {"median": 1.1, "low": 1.0, "high": 1.2, "count": 5}
README = REPOSITORY / "README.md"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "one"
    folder.mkdir()
    rows = [
        {"load": "1 client", "arm": "bare", "versus": {}, "front_cpu_us_per_chunk": 3.0},
        {
            "load": "1 client",
            "arm": "ours",
            "versus": {"bare": {"throughput": ESTIMATE, "ttft_gap_ms": ESTIMATE}},
            "front_cpu_us_per_chunk": None,
        },
    ]
    summary = {"reference": "bare", "rows": rows, "failed": {"theirs": "no core left"}}
    (folder / "summary.json").write_text(json.dumps(summary))
    origin = {"started": "2026-11-25T10:00:00", "commit": "0123456789abcdef", "counts": {"rounds": 5}}
    (folder / "origin.json").write_text(json.dumps({**origin, "hardware": {"processor": "Some CPU", "cores": 2}}))
    return tmp_path


def test_the_figures_of_the_readme_are_those_of_its_results() -> None:
    page = README.read_text()
    assert page.count("<!-- figures: ") >= 1
    assert rendered(page) == page, "run `make docs`"


def test_the_readme_has_no_figure_without_a_result() -> None:
    assert loose_figures(README.read_text()) == []


def test_a_block_is_written_from_its_result(results: Path) -> None:
    page = rendered("a\n<!-- figures: one -->\nold 9.9×\n<!-- end of figures -->\nb", results)
    assert "old" not in page
    assert "| 1 client | ours | 1.10× (1.00 … 1.20) | +1.1 ms (+1.0 … +1.2) | absent |" in page
    assert "`theirs` did not start: no core left." in page
    assert "commit 0123456789ab, Some CPU, 2 cores; medians of 5 rounds" in page
    assert rendered(page, results) == page
    assert page.startswith("a\n")
    assert page.endswith("\nb")


def test_a_result_that_is_not_there_is_an_error(results: Path) -> None:
    with pytest.raises(FileNotFoundError):
        rendered("<!-- figures: two -->\n<!-- end of figures -->", results)


@pytest.mark.parametrize("text", ["3.9 ms", "+30ms", "1.15×", "2,000 tokens/s", "90 %", "0.9× of", "12 µs"])
def test_a_figure_outside_a_block_is_found(text: str) -> None:
    assert loose_figures(f"It is {text} fast.")
    assert not loose_figures(f"<!-- figures: x -->\n{text}\n<!-- end of figures -->")


@pytest.mark.parametrize("text", ["100 msgs", "2 cores", "24 GiB", "5 minutes", "vLLM 0.29"])
def test_what_is_no_figure_of_speed_is_left_alone(text: str) -> None:
    assert loose_figures(text) == []
