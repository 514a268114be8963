"""The store: one SQL database for keys, records, feedback, releases, adapters, files, fine-tuning jobs and what
gateways tell each other.

Owns opening, migrating and closing. Does not own queries: one repository per file.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from serving.store.adapters import AdapterTable
from serving.store.database import PATIENCE_S, Database
from serving.store.feedback import FeedbackTable
from serving.store.files import FileTable
from serving.store.gateways import GatewayTable
from serving.store.jobs import JobTable
from serving.store.keys import KeyTable
from serving.store.records import RecordTable
from serving.store.releases import ReleaseTable
from serving.store.training_rows import TrainingTable
from serving.store.views import ViewTable


class Store:
    """An open store. Any repository call raises `StoreDown` while the database cannot be reached."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.keys = KeyTable(database)
        self.records = RecordTable(database)
        self.feedback = FeedbackTable(database)
        self.training = TrainingTable(database)
        self.gateways = GatewayTable(database)
        self.releases = ReleaseTable(database)
        self.adapters = AdapterTable(database)
        self.views = ViewTable(database)
        self.files = FileTable(database)
        self.jobs = JobTable(database)

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, *, patience_s: float = PATIENCE_S) -> AsyncGenerator[Store]:
        """Connect and bring the schema up to date; a schema newer than the code is refused.

        `patience_s` bounds each wait for the database; after it the call raises `StoreDown`. A migration alone takes
        the time that it needs.
        """
        # Alembic is an eighth of what importing the gateway costs, and nobody but this line needs it.
        from serving.store.migration import migrate

        database = Database(url, patience_s=patience_s)
        try:
            async with database.unhurried() as unhurried:
                await migrate(unhurried)
            yield cls(database)
        finally:
            await database.engine.dispose()
