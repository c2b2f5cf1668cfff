"""The lowest value of a function without a derivative."""

from __future__ import annotations

import numpy as np
import pytest

from unveil.stats.optimum import lowest


def test_the_lowest_value_is_found() -> None:
    middle = np.array([0.7, -1.3, 0.2])
    found = lowest(lambda x: float(np.abs(x - middle).sum()), 3, step=1.0, tolerance=0.001)
    assert found == pytest.approx(middle, abs=0.01)
