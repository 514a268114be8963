"""Adapters as the registry sees them: names, states, and what an adapter must be before an engine may have it.

Pure rules over files and values. Does not own rows (`serving/store/adapters.py`), bytes in a store
(`models/artifacts`), or engines (`serving/engines`).
"""
