"""What the tests of this folder share: a SQLite file, a real Postgres per session, a node of Ray's per module."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from models.free_ports import free_port
from serving.store.store import Store

os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # a test that needs Ray asks for `ray_node`; none starts one unknowingly


class ManualClock:
    """Time that moves only when a test says so; `set_off` is what somebody has put the wall clock ahead or back by."""

    def __init__(self, at: float = 1_800_000_000.0) -> None:
        self.at = at
        self.set_off = 0.0

    def now(self) -> float:
        return self.at + self.set_off

    def monotonic(self) -> float:
        return self.at


class PostgresServer:
    """A server in a folder of its own, which can be stopped and started."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._folder = folder
        self._user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        self.port = free_port()
        if self._user:
            shutil.chown(folder, "postgres")
        self._run("initdb", "-D", f"{folder}/data", "-A", "trust", "-U", "postgres", "--no-sync")

    def start(self) -> None:
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._run("pg_ctl", "-D", f"{self._folder}/data", "-w", "-o", options, "-l", f"{self._folder}/log", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", f"{self._folder}/data", "-w", "-m", "immediate", "stop")

    def empty_url(self) -> str:
        """The URL of the one database, emptied: a new database for each test would take ten times as long."""
        emptied = "DROP SCHEMA public CASCADE; CREATE SCHEMA public"
        self._run("psql", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-c", emptied)
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/postgres"

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._user, str(self._binaries / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")


def postgres_binaries() -> Path | None:
    """The newest installed server's folder."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return folders[-1].parent if folders else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("no Postgres server is installed: initdb is neither on PATH nor in /usr/lib/postgresql")
    folder = Path(tempfile.mkdtemp(prefix="penstock-pg-"))
    try:
        server = PostgresServer(binaries, folder)
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/penstock.db"
    url: str = request.getfixturevalue("postgres").empty_url()
    return url


@pytest.fixture
async def store(store_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """As patient as the product; a SQLite file that a test's outage locks would be waited for all that time."""
    impatient = "outage" in request.fixturenames and not store_url.startswith("postgresql")
    async with Store.open(store_url, **({"patience_s": 0.5} if impatient else {})) as opened:
        yield opened


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


class Outage:
    """Makes the store of a test unreachable: SQLite is locked by another writer, Postgres is stopped."""

    def __init__(self, url: str, server: PostgresServer | None) -> None:
        self._url = url
        self._server = server
        self.happened = 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        self.happened += 1
        with self._stopped(self._server) if self._server else self._locked():
            yield

    @contextmanager
    def _stopped(self, server: PostgresServer) -> Iterator[None]:
        server.stop()
        try:
            yield
        finally:
            server.start()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with contextlib.closing(sqlite3.connect(self._url.removeprefix("sqlite+aiosqlite:///"))) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield


@pytest.fixture
def outage(store_url: str, request: pytest.FixtureRequest) -> Outage:
    return Outage(store_url, request.getfixturevalue("postgres") if store_url.startswith("postgresql") else None)


@pytest.fixture(scope="module")
def ray_node() -> Iterator[None]:
    """A node of Ray's with one CPU, joined by this process."""
    import ray

    # A worker on its way out may still make a log file while the folder is removed.
    with tempfile.TemporaryDirectory(prefix="pray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        ray.init(
            address="local",
            num_cpus=1,
            namespace="serve",
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            object_store_memory=80 * 2**20,
            _temp_dir=folder,
        )
        yield
        ray.shutdown()
