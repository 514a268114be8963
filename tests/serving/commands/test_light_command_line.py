import subprocess
import sys

BLOCKED = ("safetensors", "scipy", "sklearn", "lightgbm", "matplotlib", "torch", "transformers")


def test_the_command_line_loads_without_what_a_router_is_trained_with() -> None:
    blocked = "; ".join(f"sys.modules[{name!r}] = None" for name in BLOCKED)
    script = f"import sys; {blocked}; import serving.cli; serving.cli.build()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr[-300:]) == (0, "")
