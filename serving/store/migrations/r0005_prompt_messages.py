"""The messages of a prompt as they came, beside its flat text."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column; older rows have none."""
    op.add_column("records", sa.Column("prompt_messages", sa.JSON(none_as_null=True)))
