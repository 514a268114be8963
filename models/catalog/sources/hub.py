"""Edge file: the model hub, by huggingface_hub's own client. One commit, wanted files only.

The client resumes by whole files: what was complete stays, a file that a killed pull had begun starts anew, and its
torso is removed first (the client never uses it again).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import tqdm

from models.catalog.schema import HubSource
from models.catalog.sources import WANTED, Access, Advance, RemoteFile
from models.errors import ConfigurationError

# The bar of `snapshot_download` that counts bytes as they reach the disk; the others count files or network bytes.
BYTES_ON_DISK = "huggingface_hub.snapshot_download"

TORSOS = ".cache/huggingface/download/**/*.incomplete"


def build(source: HubSource, access: Access) -> HubFetcher:
    """The fetcher of one commit."""
    return HubFetcher(source, access)


class HubFetcher:
    """One commit of one repository."""

    def __init__(self, source: HubSource, access: Access) -> None:
        self._source = source
        self._access = access

    def listing(self, folder: Path) -> tuple[RemoteFile, ...]:
        """The wanted files of the commit, by the client's dry run."""
        for torso in folder.glob(TORSOS):
            torso.unlink()
        found = self._download(folder, lambda _: None, dry_run=True)
        return tuple(
            RemoteFile(file.filename, file.file_size or 0, (file.file_size or 0) if file.will_download else 0)
            for file in found
        )

    def fetch(self, files: tuple[RemoteFile, ...], folder: Path, *, advance: Advance) -> None:  # noqa: ARG002
        """Download the files that are missing; the client checks the size of each itself."""
        self._download(folder, advance)

    def _download(self, folder: Path, advance: Advance, **options: Any) -> Any:
        source, token = self._source, self._access.hub_token
        if constants.HF_HUB_OFFLINE:
            raise ConfigurationError("HF_HUB_OFFLINE is set. Unset it to pull from the hub.")
        try:
            return snapshot_download(
                source.repo,
                revision=source.revision,
                local_dir=folder,
                allow_patterns=list(WANTED),
                token=False if token is None else token.get_secret_value(),
                endpoint=self._access.hub_endpoint,
                tqdm_class=_counting_bar(advance),
                **options,
            )
        except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
            raise ConfigurationError(_sentence(source, error), detail=type(error).__name__) from error


def _sentence(source: HubSource, error: Exception) -> str:
    cause = error.__cause__ if isinstance(error.__cause__, HfHubHTTPError) else error
    if isinstance(cause, GatedRepoError):
        return f"{source.repo!r} is gated. Accept its licence on the hub and give a token in HF_TOKEN."
    if isinstance(cause, RevisionNotFoundError):
        return f"{source.repo!r} has no commit {source.revision!r} any more."
    if isinstance(cause, RepositoryNotFoundError):
        return f"The hub shows no {source.repo!r}. A private model needs a token in HF_TOKEN."
    return f"The hub did not deliver {source.repo!r}. Pull again to resume."


def _counting_bar(advance: Advance) -> type:
    class CountingBar(tqdm):  # type: ignore[misc]  # huggingface_hub is not followed
        """Draws nothing; hands the bytes of the one bar that counts them to our own progress."""

        def __init__(self, *args: Any, **options: Any) -> None:
            self._counts = options.get("name") == BYTES_ON_DISK
            super().__init__(*args, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> None:
            if self._counts:
                advance(int(n or 0))

    return CountingBar
