"""The state folder of one stack: where it lies, what is in it, and who may change it now.

Owns names, modes (0700 for folders, 0600 for files) and atomic writes. Does not know what the secrets are for or how a
stack starts (`serving/deploy`).
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from models.config import Frozen
from models.errors import ConfigurationError
from models.privacy import private_folder
from models.problems import first_problem
from serving.settings import StoreSettings


class StackBusy(ConfigurationError):
    """Another command is changing this stack now."""

    default_code = "stack_busy"


class NoStack(ConfigurationError):
    """No stack is running from this state folder."""

    default_code = "no_stack"


class StackInfo(Frozen):
    """What a running stack tells the other commands; a newer version may have written fields that we do not know."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    url: str
    profile: str
    address: str
    version: str
    started: float
    pid: int | None = None
    ports: dict[str, int] = Field(default_factory=dict)
    fixed: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StateDir:
    """A folder and the paths in it. Nothing is made before `create()`."""

    path: Path

    @classmethod
    def find(cls, given: Path | None, environment: Mapping[str, str]) -> StateDir:
        """The folder that was asked for, or `PENSTOCK_STATE_DIR`, or the user's state folder."""
        if given is None and (named := environment.get("PENSTOCK_STATE_DIR")):
            given = Path(named)
        if given is None:
            home = environment.get("XDG_STATE_HOME")
            given = (Path(home) if home else Path.home() / ".local" / "state") / "penstock"
        return cls(given.expanduser().absolute())

    @property
    def database(self) -> Path:
        """The SQLite file of keys and records, when no other store is set."""
        return self.path / "penstock.db"

    @property
    def logs(self) -> Path:
        """What starting the stack has written, and `last_run`."""
        return self.path / "logs"

    @property
    def last_run(self) -> Path:
        """What gateways and engines had written when the stack last ended; there after the first end."""
        return self.logs / "last-run"

    @property
    def cards(self) -> Path:
        """Model cards of the operator's own; need not be there."""
        return self.path / "models.yaml"

    @property
    def models(self) -> Path:
        """Pulled models, one folder per card and revision."""
        return self.path / "models"

    @property
    def artifacts(self) -> Path:
        """Published versions, when no other artifact store is set."""
        return self.path / "artifacts"

    @property
    def fetched(self) -> Path:
        """Versions that were fetched from the artifact store, to be read from here."""
        return self.path / "fetched"

    @property
    def embeddings(self) -> Path:
        """Vectors of labelled prompts, so that the next training starts at once."""
        return self.path / "embeddings"

    @property
    def drafts(self) -> Path:
        """Files on their way in or out."""
        return self.path / "drafts"

    @property
    def trainings(self) -> Path:
        """What workers of fine-tuning write while they train."""
        return self.path / "trainings"

    @property
    def stack_file(self) -> Path:
        """`stack.json`: there while a stack is ready."""
        return self.path / "stack.json"

    def create(self) -> None:
        """Make the folder and its rooms, readable by their owner only."""
        try:
            for folder in (self.path, self.logs, self.path / "secrets"):
                private_folder(folder)
        except OSError as error:
            raise ConfigurationError(
                f"The state folder {str(self.path)!r} cannot be used: {error.strerror}. Choose one with --state-dir."
            ) from error

    def secret_path(self, name: str) -> Path:
        """The file of a secret."""
        return self.path / "secrets" / name

    def secret(self, name: str) -> str:
        """The secret of this name; the first call makes it, every later one (of any process) reads the same."""
        path = self.secret_path(name)
        if not path.exists():
            private_folder(path.parent)
            _publish_once(path, secrets.token_hex(32))
        return path.read_text()

    def keep_secret(self, name: str, value: str) -> None:
        """Store a secret that was made elsewhere, over an older one."""
        path = self.secret_path(name)
        private_folder(path.parent)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        _write(draft, value)
        draft.replace(path)

    def store_url(self, settings: StoreSettings) -> str:
        """The SQLAlchemy URL of keys and records: the one that is set, or SQLite in this folder."""
        if settings.url is not None:
            return settings.url.get_secret_value()
        return f"sqlite+aiosqlite:///{self.database}"

    def write_stack(self, info: StackInfo) -> None:
        """Say that the stack is ready: all of the file is there at once, or none of it."""
        draft = self.stack_file.with_suffix(f".{os.getpid()}.tmp")
        _write(draft, info.model_dump_json(indent=2) + "\n")
        draft.replace(self.stack_file)

    def read_stack(self) -> StackInfo | None:
        """The stack that was started here and not stopped, or None. It may have died since."""
        try:
            return StackInfo.model_validate(json.loads(self.stack_file.read_text()))
        except FileNotFoundError:
            return None
        except ValueError as error:  # what pydantic raises is one
            problem = first_problem(error) if isinstance(error, ValidationError) else str(error)
            raise ConfigurationError(
                f"{str(self.stack_file)!r} is not readable. `penstock down` clears it.", detail=problem
            ) from error

    def running(self) -> StackInfo:
        """As `read_stack`, for commands that need one."""
        if (info := self.read_stack()) is None:
            raise NoStack(
                f"No stack runs from {str(self.path)!r}. Start one with `penstock up` or name its folder (--state-dir)."
            )
        return info

    def forget_stack(self) -> None:
        """Say that no stack is ready here."""
        self.stack_file.unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only command that changes this stack; the lock ends with its process, however that ends."""
        self.create()
        handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackBusy(
                    f"Another penstock command is changing the stack of {str(self.path)!r}. "
                    "Wait for it, or use another --state-dir."
                ) from None
            yield
        finally:
            os.close(handle)


def is_private(folder: Path) -> bool:
    """Whether this is a folder, no link to one, that belongs to this user and admits nobody else."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def _write(path: Path, text: str) -> None:
    """A file of mode 0600, on the disk when this returns."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _publish_once(path: Path, text: str) -> None:
    """Make the file with its whole text; of several processes the first one wins."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    _write(draft, text)
    with suppress(FileExistsError):
        path.hardlink_to(draft)
    draft.unlink()
