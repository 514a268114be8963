"""An answer that is a file made for it alone. Owns that the file is gone afterwards."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send


class Handed(FileResponse):
    """A file that is gone when it was sent, or could not be; sent whole, whatever part is asked for."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        try:
            await super().__call__({**scope, "headers": headers}, receive, send)
        finally:
            self._forget()

    def _forget(self) -> None:
        Path(self.path).unlink(missing_ok=True)
