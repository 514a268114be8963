"""The Ray Serve graph: starting, changing and stopping a stack."""
