"""`python -m benchmarks.adapters`: what adapters cost on a running stack, measured from outside."""
