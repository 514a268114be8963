"""Edge file: how an object store is reached, by obstore. Keys and region come from its own `AWS_…` variables."""

from __future__ import annotations

from obstore.store import S3Store


def open_folder(url: str, endpoint: str | None) -> S3Store:
    """The folder `s3://bucket/prefix`; nothing is asked yet. An endpoint replaces AWS, plain HTTP included."""
    return S3Store.from_url(
        url,
        config={} if endpoint is None else {"endpoint": endpoint},
        client_options={"allow_http": endpoint is not None and endpoint.startswith("http://")},
    )
