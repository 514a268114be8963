"""Keeps the libraries silent and at home (edge: transformers): no telemetry, no hub, no bars, no chatter."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants
from transformers.utils import logging


@contextmanager
def quiet() -> Iterator[None]:
    """Switches of the libraries, for this process; their own notes to each other about renamed fields are not ours."""
    constants.HF_HUB_OFFLINE = True
    constants.HF_HUB_DISABLE_TELEMETRY = True
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
