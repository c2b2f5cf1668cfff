"""Findings about identities in columns are the records that they stand for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import examples, identity_findings
from unveil.results import IdentityFinding, identities

RECORDS = st.lists(
    st.builds(
        IdentityFinding,
        identity=st.text("ab", max_size=3),
        score=st.floats(-3, 3),
        q=st.just(0.25),
        n_images=st.integers(1, 9),
        n_agreeing=st.integers(0, 9),
        synthetic_id=st.text("st", max_size=3),
        training_id=st.none() | st.sampled_from(["t1", "t2"]),
        channel=st.sampled_from(["face", "appearance"]),
        significant=st.booleans(),
        duplicate_of=st.none() | st.just("a"),
    ),
    max_size=9,
)


@pytest.mark.parametrize("block", [2, 65_536])
@examples(60)
@given(records=RECORDS, tested=st.booleans(), by_tail=st.booleans())
def test_columns_are_records(records: list[IdentityFinding], tested: bool, by_tail: bool, block: int) -> None:
    expected = [replace(r, q=r.q if tested else None, q_gpd=0.5 if by_tail else None) for r in records]
    found = identity_findings(*expected)
    if not records:
        found = replace(found, q=found.score if tested else None, q_gpd=found.score if by_tail else None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identities, "BLOCK", block)
        patch.setattr(identities, "MAX_IDENTITIES", 3)
        assert len(found) == len(expected) and list(found) == expected and list(found[1:3]) == expected[1:3]
        assert [found[i] for i in range(-len(expected), len(expected))] == expected * 2
        significant = [r for r in expected if r.significant]
        assert found.n_significant == len(significant) and list(found.that_are_significant) == significant
        first = [r for rank, r in enumerate(expected) if r.significant or rank < 3]
        assert list(found.foremost) == first
        assert list(found.unreliable()) == [replace(r, significant=False) for r in expected]
        rows = np.arange(len(expected))[::-2]
        for name, column in found.table(rows).items():
            values = column if isinstance(column, list) else column.tolist()
            assert values == [getattr(expected[i], name) for i in rows], name
