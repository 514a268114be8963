"""The files' part of docs/api.md: paths and fields, as `api_page.py` puts them onto the page."""

from __future__ import annotations

from serving.api.adapters import ENGINEERS
from serving.api.files import LONGEST_S, PAGES, SHORTEST_S

_FILE = "/v1/files/{id}"

PATHS = (
    ("GET", "/v1/files", ENGINEERS, "The org's files, newest first."),
    ("POST", "/v1/files", ENGINEERS, "Upload a file: every line is checked before it has an id."),
    ("GET", _FILE, ENGINEERS, "One file; `penstock.facts` is what the check found."),
    ("DELETE", _FILE, ENGINEERS, "Forget it, with its bytes; refused while a job reads it."),
    ("GET", f"{_FILE}/content", ENGINEERS, "Its bytes as they came."),
)

FIELDS = (
    (
        "POST /v1/files",
        "`multipart/form-data`: `file` (with a name), `purpose`: `fine-tune` (training, validation) or `evals`"
        f" (golden), `expires_after[anchor]`: `created_at`, `expires_after[seconds]`: {SHORTEST_S} to {LONGEST_S}",
    ),
    (
        "GET /v1/files",
        f"in the query `limit` (1 to {PAGES.most}, {PAGES.default} unless given), `after` (an id), `order`: `desc` or"
        " `asc`, `purpose`",
    ),
)
"""Path, and what its body (or query) holds."""
