import os
from pathlib import Path

import pytest

from serving.deploy.cause import LAST_LINES, LONGEST_LINE, cause_of
from serving.deploy.logs import session_logs
from tests.serving.deploy.session import (
    BROKEN,
    MEMORY,
    PID,
    POINTER,
    REFUSED,
    SERVES_HEAD,
    SERVES_TEXT,
    engine_output,
    replica,
    worker,
    write_session,
)


def cause(folder: Path, files: dict[str, str], reason: str = SERVES_TEXT) -> list[str]:
    write_session(folder, files)
    return cause_of(BROKEN, reason, logs=session_logs(folder))


def test_the_engines_own_error_comes_first_and_no_traceback_at_all(tmp_path: Path) -> None:
    lines = cause(tmp_path, engine_output())
    assert lines == [
        MEMORY,
        "INFO 11-24 10:00:02 [loader.py:5] Using the model folder",
        "INFO 11-24 10:00:03 [core.py:120] Initializing a V1 LLM engine",
        "INFO 11-24 10:00:08 [worker.py:9] Loaded",
        "ERROR 11-24 10:00:09 [core.py:1374] EngineCore failed to start.",
    ]


def test_an_error_that_was_printed_and_not_logged_is_found_too(tmp_path: Path) -> None:
    assert cause(tmp_path, {worker(PID, "err"): engine_output()[worker(PID, "err")]}) == [MEMORY]


def test_an_error_of_a_worker_below_the_engine_is_found_behind_two_pointers(tmp_path: Path) -> None:
    passed_on = "Exception: WorkerProc initialization failed due to an exception. See stack trace for root cause."
    output = engine_output("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.")
    output[worker(PID, "out")] += f"(EngineCore pid=4799) ERROR 11-24 10:00:10 [core.py:1374] {passed_on}\n"
    assert cause(tmp_path, output)[0].startswith("torch.OutOfMemoryError: CUDA out of memory.")


def test_colours_do_not_hide_the_error(tmp_path: Path) -> None:
    coloured = f"\x1b[0;36m(EngineCore pid=4799)\x1b[0;0m \x1b[31mERROR\x1b[0m 11-24 10:00:09 [core.py:1374] {MEMORY}\n"
    assert cause(tmp_path, {worker(PID, "out"): replica(BROKEN, coloured)})[0] == MEMORY


def test_what_serve_knows_itself_is_told_with_the_lines_that_belong_to_it(tmp_path: Path) -> None:
    quiet = {worker(PID, "out"): replica(BROKEN, "INFO 11-24 10:00:02 [loader.py:5] Using the model folder\n")}
    lines = cause(tmp_path, quiet, SERVES_HEAD + REFUSED)
    assert lines[:3] == REFUSED.splitlines()
    assert lines[3:] == ["INFO 11-24 10:00:02 [loader.py:5] Using the model folder"]


def test_the_process_that_serve_names_counts_and_not_the_youngest(tmp_path: Path) -> None:
    other = replica(BROKEN, "KeyError: 'a younger one'\n")
    assert cause(tmp_path, {**engine_output(), worker(9999, "out"): other})[0] == MEMORY
    assert cause(tmp_path, {worker(9999, "out"): other}, "It died.")[0] == "KeyError: 'a younger one'"


def test_without_a_name_the_youngest_process_counts(tmp_path: Path) -> None:
    folder = write_session(tmp_path, {**engine_output(), worker(9, "err"): replica(BROKEN, "OSError: old\n")})
    os.utime(folder / worker(9, "err"), (1, 1))
    assert cause_of(BROKEN, "It died.", logs=session_logs(tmp_path))[0] == MEMORY


@pytest.mark.parametrize("deployment", ["demo-small", "gateway"])
def test_what_another_deployment_wrote_is_never_told(tmp_path: Path, deployment: str) -> None:
    output = {name: text.replace(BROKEN, deployment) for name, text in engine_output().items()}
    assert MEMORY not in cause(tmp_path, output)


def test_where_no_log_is_serves_text_is_told_without_its_frames() -> None:
    lines = cause_of(BROKEN, SERVES_TEXT, logs=[])
    assert lines[-1] == POINTER
    assert not [line for line in lines if line.startswith((" ", "Traceback"))]
    assert cause_of(BROKEN, "nothing more happened within 1800 s", logs=[]) == ["nothing more happened within 1800 s"]


def test_much_output_stays_a_few_lines_of_bounded_length(tmp_path: Path) -> None:
    chatter = "".join(f"INFO 11-24 10:00:02 [loader.py:5] {number} {'x' * 9000}\n" for number in range(200))
    lines = cause(tmp_path, {worker(PID, "out"): replica(BROKEN, f"{chatter}ValueError: {'y' * 9000}\n")})
    assert [len(line) for line in lines] == [LONGEST_LINE] * (1 + LAST_LINES)
    assert lines[0].startswith("ValueError: y")


def test_an_empty_reason_and_empty_logs_are_no_cause(tmp_path: Path) -> None:
    assert cause(tmp_path, {worker(PID, "out"): ""}, "") == []
