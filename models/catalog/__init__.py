"""What can be served: model cards, the rules they must meet, and the files behind them."""

from models.catalog.arguments import engine_arguments
from models.catalog.loader import Catalog
from models.catalog.schema import ModelCard
from models.catalog.store import ModelStore, resolve

__all__ = ["Catalog", "ModelCard", "ModelStore", "engine_arguments", "resolve"]
