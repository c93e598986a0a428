"""THE TABLE: the rows of every API, a file each, and the registry that is made of them."""

from __future__ import annotations

from mlgate.api.method import Registry, compile
from mlgate.api.methods import iam, ml, mlgate, resourcemanager, storage


def registry() -> Registry:
    """All rows, checked. Raises ValueError for a row that cannot be trusted."""
    return compile((*ml.ROWS, *resourcemanager.ROWS, *iam.ROWS, *storage.ROWS, *mlgate.ROWS))
