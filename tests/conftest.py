"""What holds for every test: none has to be quick."""

from __future__ import annotations

from hypothesis import settings

# An example that took more than 200 ms would be a failure, however often the machine was busy with something else then.
settings.register_profile("house", deadline=None)
settings.load_profile("house")
