"""Edge file: a shelf in an object store, by obstore. One object per file, each there at once or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError

from models.errors import ConfigurationError
from models.object_store import open_folder


class BucketShelf:
    """Keys are object names under one prefix."""

    def __init__(self, url: str, endpoint: str | None) -> None:
        self._url = url
        self._store = open_folder(url, endpoint)

    def entries(self, folder: str) -> list[str]:
        """The names directly under a prefix."""
        try:
            found = obstore.list_with_delimiter(self._store, folder)
        except (BaseError, FileNotFoundError) as error:
            raise self._failure(error) from error
        paths = [*(entry["path"] for entry in found["objects"]), *found["common_prefixes"]]
        return [path.rsplit("/", 1)[-1] for path in paths]

    def read(self, key: str) -> Iterator[bytes]:
        """The object as it comes."""
        try:
            for chunk in obstore.get(self._store, key).stream():
                yield bytes(chunk)
        except BaseError as error:
            raise self._failure(error) from error

    def write(self, key: str, blocks: Iterable[bytes], *, replace: bool) -> bool:
        """One object; in parts where it may be large, and then it is there when the last one is."""
        try:
            if replace:
                obstore.put(self._store, key, iter(blocks))
            else:
                obstore.put(self._store, key, b"".join(blocks), mode="create")
        except AlreadyExistsError:
            return False
        except (BaseError, FileNotFoundError) as error:
            raise self._failure(error) from error
        return True

    def remove(self, key: str) -> None:
        """One object."""
        try:
            obstore.delete(self._store, key)
        except FileNotFoundError:
            return
        except BaseError as error:
            raise self._failure(error) from error

    def files(self, folder: str) -> dict[str, float]:
        """One listing, page by page. Uploads that were never finished are no objects; the bucket's rules end them."""
        try:
            pages = obstore.list(self._store, folder)
            return {meta["path"]: meta["last_modified"].timestamp() for page in pages for meta in page}
        except (BaseError, FileNotFoundError) as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> ConfigurationError:
        return ConfigurationError(
            f"The object store does not serve {self._url!r}. Check bucket, endpoint and the `AWS_…` variables.",
            detail=type(error).__name__,
        )
