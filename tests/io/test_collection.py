"""Garbage collection is paused while records are made, and then as it was."""

from __future__ import annotations

import gc

import pytest

from unveil.io.collection import collection_paused


def test_collection_is_paused_and_resumed_as_it_was() -> None:
    assert gc.isenabled()
    with pytest.raises(ValueError, match="damaged"), collection_paused():
        assert not gc.isenabled()
        with collection_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
        raise ValueError("damaged")
    assert gc.isenabled()
