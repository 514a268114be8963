import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from benchmarks.arms import Arm, ArmFailed, Bench
from benchmarks.arms.bare import BareVllm, as_flags
from benchmarks.arms.child import Child
from benchmarks.arms.penstock import Penstock, engine_overrides
from benchmarks.arms.serve_llm import ONE_PROCESS, RayServeLlm
from benchmarks.comparison import Comparison
from benchmarks.processes import engine_below

LATE = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "


def test_engine_arguments_become_flags() -> None:
    flags = list(as_flags({"max_model_len": 8, "enforce_eager": True, "enable_lora": False, "hf": {"a": 1}}))
    assert flags == ["--max-model-len", "8", "--enforce-eager", "--no-enable-lora", "--hf", '{"a": 1}']


def test_bare_and_serve_llm_get_the_same_model_arguments_and_cores(bench: Bench) -> None:
    command = " ".join(BareVllm(bench, "1").command())
    order = RayServeLlm(bench, "1").order()
    assert " ".join(as_flags(bench.arguments)) in command
    assert order["engine"] == bench.arguments
    assert f"--model {bench.model} --served-model-name demo" in command
    assert (order["model"], order["card"]) == (str(bench.model), "demo")
    same = {"VLLM_CPU_OMP_THREADS_BIND": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    assert order["variables"] == {**same, **ONE_PROCESS}
    assert RayServeLlm(bench, "1", as_shipped=True).order()["variables"] == same


def test_the_arms_as_shipped_keep_vllms_executor(bench: Bench) -> None:
    ours, shipped = (BareVllm(bench, "1", as_shipped=flag).command() for flag in (False, True))
    assert "--distributed-executor-backend" in ours
    assert "--distributed-executor-backend" not in shipped
    assert ours[-len(list(as_flags(bench.arguments))) :] == shipped[-len(list(as_flags(bench.arguments))) :]


def test_every_arm_keeps_the_protocol(bench: Bench) -> None:
    arms: list[Arm] = [BareVllm(bench, "1"), RayServeLlm(bench, "1"), Penstock(bench, profile="p", state=bench.folder)]
    assert len({arm.name for arm in arms}) == 3
    for arm in arms[:2]:
        assert (arm.engine(), arm.front()) == (None, [])
        arm.stop()


def test_what_a_profile_sets_over_the_card_is_found_by_the_card() -> None:
    settings = {"engines.0.card": "a", "engines.0.engine_args": {}, "engines.1.card": "b", "engines.1.engine_args.x": 2}
    assert engine_overrides(settings, "a") == {}
    assert engine_overrides(settings, "b") == {"x": 2}
    with pytest.raises(ArmFailed, match="no engine for card 'c'"):
        engine_overrides(settings, "c")


def test_a_process_that_dies_at_its_start_is_a_failure_with_its_last_words(tmp_path: Path) -> None:
    child = Child("bare", tmp_path / "log")
    child.start([sys.executable, "-c", "raise SystemExit('no such model')"], {})
    with pytest.raises(ArmFailed, match="its process ended") as failure:
        child.wait_until(lambda: False)
    assert failure.value.log == "no such model"
    child.stop()


def test_a_process_that_never_answers_is_a_failure(tmp_path: Path) -> None:
    child = Child("bare", tmp_path / "log")
    child.start([sys.executable, "-c", "import time; time.sleep(60)"], {})
    with pytest.raises(ArmFailed, match="no answer within 0 s"):
        child.wait_until(lambda: False, limit_s=0)
    child.stop()
    assert child.root is None


def test_stopping_ends_the_descendants_too(tmp_path: Path) -> None:
    child = Child("bare", tmp_path / "log")
    child.start([sys.executable, "-c", LATE + "print('up', flush=True); time.sleep(60)"], {})
    child.wait_until(lambda: "up" in (tmp_path / "log").read_text())
    assert child.root is not None
    below = child.root.children(recursive=True)
    assert len(below) == 1
    child.stop()
    assert not any(psutil.pid_exists(process.pid) for process in below)


def test_an_arm_that_fails_does_not_end_the_run_but_is_kept_with_its_reason(bench: Bench, tmp_path: Path) -> None:
    class Broken(BareVllm):
        def command(self) -> list[str]:
            return [sys.executable, "-c", "raise SystemExit('no core left')"]

    console = Console(file=(tmp_path / "console").open("w"), width=200)
    with Comparison(bench, console=console, out=tmp_path) as comparison:
        comparison.add(Broken(bench, "1", name="broken"))
    console.file.close()
    assert comparison.failed == {"broken": "its process ended"}
    assert "no core left" in (tmp_path / "console").read_text()


def test_a_process_without_an_engine_below_has_none() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        assert engine_below(psutil.Process(process.pid)) is None
        process.kill()


def test_an_arm_that_cannot_be_stopped_does_not_keep_the_others_running(bench: Bench, tmp_path: Path) -> None:
    stopped = []

    class Stubborn(BareVllm):
        def command(self) -> list[str]:
            return [sys.executable, "-c", ""]

        def stop(self) -> None:
            stopped.append(self.name)
            super().stop()
            raise OSError("stubborn")

    comparison = Comparison(bench, console=Console(quiet=True), out=tmp_path)
    for name in ("one", "two"):
        comparison.add(Stubborn(bench, "1", name=name))
    with pytest.raises(OSError, match="stubborn"):
        comparison.__exit__(None, None, None)
    assert stopped == ["two", "one"]
