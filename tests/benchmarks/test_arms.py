import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from rich.console import Console

import serving
from benchmarks.arms import ENGINE_CLASS, Arm, ArmFailed, Bench
from benchmarks.arms.bare import BareVllm, as_flags
from benchmarks.arms.catalog import ARMS, BARE_MOCK, build, in_order
from benchmarks.arms.child import Child
from benchmarks.arms.litellm import LiteLlm
from benchmarks.arms.penstock import engine_overrides
from benchmarks.arms.remote import Remote
from benchmarks.arms.serve_llm import ONE_PROCESS, RayServeLlm
from benchmarks.comparison import Comparison
from benchmarks.processes import engine_below
from models.errors import ConfigurationError

LATE = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "


def test_engine_arguments_become_flags() -> None:
    flags = list(as_flags({"max_model_len": 8, "enforce_eager": True, "enable_lora": False, "hf": {"a": 1}}))
    assert flags == ["--max-model-len", "8", "--enforce-eager", "--no-enable-lora", "--hf", '{"a": 1}']


def test_bare_and_serve_llm_get_the_same_model_arguments_and_cores(bench: Bench) -> None:
    command = " ".join(BareVllm(bench).command())
    order = RayServeLlm(bench).order()
    assert " ".join(as_flags(bench.arguments)) in command
    assert order["engine"] == bench.arguments
    assert f"--model {bench.model} --served-model-name demo" in command
    assert (order["model"], order["card"]) == (str(bench.model), "demo")
    same = {"VLLM_CPU_OMP_THREADS_BIND": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    assert order["variables"] == {**same, ENGINE_CLASS: ONE_PROCESS}
    assert RayServeLlm(bench, as_shipped=True).order()["variables"] == same


def test_the_arms_as_shipped_keep_vllms_executor(bench: Bench) -> None:
    ours, shipped = (BareVllm(bench, as_shipped=flag).command() for flag in (False, True))
    assert "--distributed-executor-backend" in ours
    assert "--distributed-executor-backend" not in shipped
    assert ours[-len(list(as_flags(bench.arguments))) :] == shipped[-len(list(as_flags(bench.arguments))) :]


@pytest.mark.parametrize("name", [*ARMS, "mine=http://127.0.0.1:9"])
def test_every_arm_keeps_the_protocol_and_shows_nothing_before_it_started(name: str, bench: Bench) -> None:
    arm: Arm = build(name, bench)
    assert arm.name == name.partition("=")[0]
    assert (arm.engine(), arm.front(), arm.processes()) == (None, [], [])
    arm.stop()


def test_arms_start_in_the_order_of_the_table_each_once() -> None:
    assert in_order(["litellm", "bare-vllm", "penstock", "bare-vllm", "a=http://h"], mock=False) == [
        "penstock",
        "bare-vllm",
        "litellm",
        "a=http://h",
    ]
    assert in_order(["bare-vllm", "penstock@v1"], mock=True) == ["penstock@v1", BARE_MOCK]


@pytest.mark.parametrize(
    ("name", "mock", "said"),
    [
        ("vllm", False, "Unknown arm 'vllm'"),
        ("null=http://h", False, "the reference measured twice"),
        ("bare-vllm-as-shipped", True, "no place on the mock engine"),
        (BARE_MOCK, False, "needs --engine mock"),
    ],
)
def test_an_arm_that_cannot_be_is_a_sentence(name: str, mock: bool, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        in_order([name], mock=mock)


def test_serve_llms_interval_and_a_mock_engine_reach_its_script(bench: Bench) -> None:
    assert RayServeLlm(bench).order()["experimental"] == {}
    mocked = build("ray-serve-llm-interval-0", replace(bench, mock='{"tokens": 3}'))
    assert isinstance(mocked, RayServeLlm)
    order = mocked.order()
    assert order["experimental"] == {"stream_batching_interval_ms": 0}
    variables = order["variables"]
    assert isinstance(variables, dict)
    assert variables[ENGINE_CLASS].endswith("MockEngine")
    assert variables["PENSTOCK_MOCK_SCRIPT"] == '{"tokens": 3}'


def test_litellm_needs_something_to_stand_in_front_of_and_keeps_its_key_to_itself(bench: Bench) -> None:
    arm = LiteLlm(bench)
    with pytest.raises(ArmFailed, match="add --arm bare-vllm"):
        arm.start()
    config = json.dumps(arm.config("http://127.0.0.1:1"))
    assert "http://127.0.0.1:1/v1" in config
    assert arm.target.key is not None
    assert arm.target.key in config
    assert arm.target.key not in repr(arm.target)


def test_a_server_of_somebody_else_that_does_not_answer_is_a_failed_arm(bench: Bench) -> None:
    with pytest.raises(ArmFailed, match="Nothing answers at"):
        Remote(bench, name="mine", url="http://127.0.0.1:9").start()


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


def test_a_process_imports_nothing_from_the_folder_where_the_command_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "serving").mkdir()
    (tmp_path / "serving" / "__init__.py").write_text("raise ImportError('serving of somebody else')")
    (tmp_path / "logs").mkdir()
    monkeypatch.chdir(tmp_path)
    child = Child("bare", tmp_path / "logs" / "log")
    child.start([sys.executable, "-c", "import serving; raise SystemExit(serving.__file__)"], {})
    with pytest.raises(ArmFailed, match="its process ended") as failure:
        child.wait_until(lambda: False)
    assert failure.value.log == serving.__file__
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
        comparison.add(Broken(bench, name="broken"))
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
        comparison.add(Stubborn(bench, name=name))
    with pytest.raises(OSError, match="stubborn"):
        comparison.__exit__(None, None, None)
    assert stopped == ["two", "one"]
