"""The encoder of `audit.json` gives the bytes of the standard library."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import examples
from unveil.io.indented import indented_json

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
DOCUMENTS = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=40)


@given(DOCUMENTS)
@examples(200)
def test_the_text_is_that_of_the_standard_library(document: object) -> None:
    assert indented_json(document) == json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)


def test_what_json_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        indented_json({"a": [float("nan")]})
