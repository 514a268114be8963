import json
import subprocess

import pytest

from serving.commands.stack import curl_line


@pytest.mark.parametrize("key", ["sk-penstock-abc_-123", None])
def test_the_curl_line_survives_a_shell(key: str | None) -> None:
    """What curl would get, told by a shell function that stands in its place."""
    script = (
        f'curl() {{ for word in "$@"; do printf \'%s\\n\' "$word"; done; }}\n{curl_line("http://127.0.0.1:8000", key)}'
    )
    ran = subprocess.run(
        ["sh", "-c", script], env={"PENSTOCK_API_KEY": "from-env"}, capture_output=True, text=True, check=True
    )
    words = ran.stdout.splitlines()
    assert words[:2] == ["-N", "http://127.0.0.1:8000/v1/chat/completions"]
    assert f"Authorization: Bearer {key or 'from-env'}" in words
    assert json.loads(words[-1])["model"] == "auto"
