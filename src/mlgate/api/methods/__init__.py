"""THE TABLE: the rows of every API, a file each, and the registry that is made of them."""

from __future__ import annotations

from mlgate.api.method import Registry, compile


def registry() -> Registry:
    """All rows, checked. Raises ValueError for a row that cannot be trusted."""
    # imported here, so that a client which needs the rows of one API does not load those of all
    from mlgate.api.methods import (
        cloudasset,
        cloudidentity,
        iam,
        logging,
        ml,
        mlgate,
        policytroubleshooter,
        resourcemanager,
        storage,
    )

    return compile(
        (
            *ml.ROWS,
            *resourcemanager.ROWS,
            *iam.ROWS,
            *cloudidentity.ROWS,
            *cloudasset.ROWS,
            *policytroubleshooter.ROWS,
            *logging.ROWS,
            *storage.ROWS,
            *mlgate.ROWS,
        )
    )
