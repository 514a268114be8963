"""The classifier deployment and the gateway's way to it: prompts in, readings out (docs/decisions/0020)."""
