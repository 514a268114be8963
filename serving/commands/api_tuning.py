"""The part of docs/api.md on fine-tuning jobs: paths and fields, as `api_page.py` puts them onto the page."""

from __future__ import annotations

from serving.api.adapters import ENGINEERS

_JOBS, _JOB = "/v1/fine_tuning/jobs", "/v1/fine_tuning/jobs/{job}"

PATHS = (
    ("POST", _JOBS, ENGINEERS, "A new fine-tuning job."),
    ("GET", _JOBS, ENGINEERS, "The org's jobs, newest first: `after`, `limit` (1 to 100), `metadata[NAME]`."),
    ("GET", _JOB, ENGINEERS, "One job; what is ours is in `penstock`."),
    ("POST", f"{_JOB}/cancel", ENGINEERS, "End it: at once, or when its worker obeys."),
    ("POST", f"{_JOB}/pause", ENGINEERS, "Let it wait, with what it has learned."),
    ("POST", f"{_JOB}/resume", ENGINEERS, "Queue a paused or failed job again, at its last checkpoint."),
    (
        "GET",
        f"{_JOB}/events",
        ENGINEERS,
        "Its log, newest first: `after`, `limit` (1 to 1000), `order` (asc, desc). `penstock.at` is the exact time;"
        " `data.phase` the phase that began.",
    ),
    ("GET", f"{_JOB}/checkpoints", ENGINEERS, "Its complete checkpoints, newest first."),
    (
        "POST",
        f"{_JOB}/checkpoints/{{checkpoint}}/serve",
        ENGINEERS,
        "Serve a checkpoint, under the name it is shown with.",
    ),
    ("GET", f"{_JOB}/report", ENGINEERS, "What the gate found: JSON, or `format=markdown`."),
    ("DELETE", "/v1/models/{id}", ENGINEERS, "Delete a fine-tuned model: its name `ft:…` and the version behind it."),
)

FIELDS = (
    ("model", "a card whose engines load adapters", "**Required.**"),
    ("training_file", "an id", "**Required.** Uploaded for `fine-tune`; preferences for the method `dpo`."),
    ("validation_file", "an id", "Its loss decides which step is kept; without a golden file half of it judges."),
    (
        "method",
        "`{type, supervised or dpo: {hyperparameters}}`",
        "`supervised` unless set. Numbers, or `auto`: [fine-tuning.md](fine-tuning.md).",
    ),
    ("hyperparameters", "an object", "The older place for them."),
    ("seed", "an integer from 0 to 2147483647", "Drawn, and told, unless set."),
    (
        "suffix",
        "1 to 63 of a-z, 0-9, `.`, `_`, `-`",
        "The adapter's name. OpenAI allows 64 characters, and upper case.",
    ),
    ("metadata", "at most 16 pairs of 64 and 512 characters", "Jobs are found by it."),
    ("integrations", "`[]`", "This stack calls nobody."),
    ("penstock.recipe", "one of 'lora_sft', 'qlora_sft', 'dpo'", "The method's own unless set."),
    ("penstock.golden_file", "an id", "What the gate asks."),
    ("penstock.regression_file", "an id", "What must not be forgotten."),
    ("penstock.gate", "an object", "The gate's thresholds."),
    ("penstock.auto_promote", "one of 'none', 'canary', 'promote'", "What is done with a version that passed."),
    ("penstock.canary_weight", "above 0, up to 99", "Per cent of the callers, with `canary`."),
    ("penstock.max_cost_usd", "above 0", "The training ends there."),
    ("penstock.max_hours", "above 0", "Likewise; the stack's own limit holds too."),
)
"""Field, what it takes, what it is."""
