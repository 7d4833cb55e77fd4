"""What the attacks need of the facets that they are tried on."""

from tests.unit.interaction.conftest import authority, suite
from tests.unit.storage.conftest import pool, storage, transport

__all__ = ["authority", "pool", "storage", "suite", "transport"]
