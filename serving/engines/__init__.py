"""Engines: vLLM replicas on Ray Serve, and the gateway's way of calling them."""
