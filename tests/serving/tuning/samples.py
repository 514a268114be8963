"""Training files for tests."""

import json


def chats(count: int = 12) -> bytes:
    """A good training file."""
    lines = [
        {"messages": [{"role": "user", "content": f"say {n}"}, {"role": "assistant", "content": str(n)}]}
        for n in range(count)
    ]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def golden(count: int = 3) -> bytes:
    """A good file for the gate."""
    lines = [{"messages": [{"role": "user", "content": f"say {n}"}], "expected": str(n)} for n in range(count)]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)
