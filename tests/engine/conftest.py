from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engine.cluster import Machines, machines


@pytest.fixture(scope="session")
def cluster() -> Iterator[Machines]:
    """One cluster of two machines for all tests of this process."""
    with machines() as made:
        yield made
