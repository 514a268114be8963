"""The gate: whether a candidate that was trained is good enough to be served. Pure but for the files that it reads."""
