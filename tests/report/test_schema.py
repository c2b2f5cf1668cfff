"""The schema of `audit.json` and the records of a result agree, and every field is described."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import unveil
from tests.runs.forging import kinds_of_places, replaced, without
from tools import audit_schema
from unveil.results import AuditResult, from_document, from_own_document, schema, to_document

Audited = tuple[unveil.AuditResult, Path]


def objects(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of a schema that has properties, with its path."""
    if isinstance(node, dict):
        if "properties" in node:
            yield path, node
        for key, below in node.items():
            yield from objects(below, f"{path}/{key}")
    elif isinstance(node, list):
        for i, below in enumerate(node):
            yield from objects(below, f"{path}/{i}")


def test_the_schema_is_that_of_the_records() -> None:
    stored = audit_schema.FILE.read_text("utf-8")
    assert stored == audit_schema.text(), "run: python -m tools.audit_schema"
    assert schema()["$id"] == "urn:unveil:audit:2"
    jsonschema.Draft202012Validator.check_schema(schema())


def test_every_field_is_described() -> None:
    seen = 0
    for path, node in objects(schema()):
        assert node["description"], path
        for name, below in node["properties"].items():
            text = below.get("description", "")
            assert len(text) > 3 and text.endswith("."), f"{path}: {name}"
            assert all(len(sentence.split()) <= 30 for sentence in text.split(". ")), f"{path}: {name}"
            seen += 1
    assert seen > 200


def test_a_field_without_a_description_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    known = audit_schema.descriptions

    def without(record: type[Any]) -> dict[str, str]:
        return {name: text for name, text in known(record).items() if name != "exposed_people"}

    monkeypatch.setattr(audit_schema, "descriptions", without)
    with pytest.raises(KeyError, match="exposed_people"):
        audit_schema.schema()


def test_a_result_is_read_back_as_it_was(audited: Audited) -> None:
    result, run = audited
    text = (run / "audit.json").read_text("utf-8")
    document = json.loads(text)
    assert document == to_document(result)
    assert from_document(document) == AuditResult(**{f.name: getattr(result, f.name) for f in fields(AuditResult)})
    assert from_own_document(json.loads(text)) == from_document(document)
    with pytest.raises(ValueError, match="schema_version"):
        from_own_document({**document, "schema_version": -1})
    jsonschema.validate(document, schema())
    assert text.count("\n") > 1000 and max(map(len, text.splitlines())) < 2000, "for people to read"


def test_a_document_with_other_fields_is_not_valid(audited: Audited) -> None:
    document = to_document(audited[0])
    for changed in (
        {**document, "extra": 1},
        {name: value for name, value in document.items() if name != "people"},
        {**document, "verdict": "perhaps"},
        {**document, "people": [{**document["people"][0], "p": 2}]},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(changed, schema())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"schema_version": 1}, "expected schema_version 2, found 1"),
        ({"people": [{}]}, r"people\[0\].channel: expected a value, found none"),
        ({"counts": 3}, "counts: expected a table, found 3"),
        ({"verdict": "perhaps"}, 'verdict: expected one of leak found, .*, found "perhaps"'),
    ],
)
def test_another_document_is_an_error(audited: Audited, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_document({**to_document(audited[0]), **wrong})


def shortened(document: Any) -> Any:
    """The document with one element of each list."""
    if isinstance(document, dict):
        return {name: shortened(value) for name, value in document.items()}
    return [shortened(value) for value in document[:1]] if isinstance(document, list) else document


def test_what_is_missing_or_unknown_is_an_error_exactly_where_the_schema_says_so(audited: Audited) -> None:
    """No default stands for a value that somebody left out, and no value that is not checked is passed on."""
    document, valid = shortened(to_document(audited[0])), jsonschema.Draft202012Validator(schema()).is_valid
    changed = [without(document, place) for place in kinds_of_places(document) if place and isinstance(place[-1], str)]
    for place in kinds_of_places(document):
        table = document
        for name in place:
            table = table[name]
        if isinstance(table, dict):
            changed.append(replaced(document, place, {**table, "unknown": None}))
    refused = 0
    for other in changed:
        if valid(other):
            from_document(other)
        else:
            refused += 1
            with pytest.raises(ValueError, match="expected"):
                from_document(other)
    assert valid(document) and refused > 200


def test_what_programs_rely_on(audited: Audited) -> None:
    document = to_document(replace(audited[0], exposures=None))
    assert document["verdict"] == "leak found" and document["exposed_people"]["low"] > 0
    first = document["people"][0]
    assert first["person"].startswith("person-") and {"conformal", "GPD tail"} <= set(first["significant_by"])
    assert 0 < document["membership"][0]["tpr_at_fpr"]["0.01"]["value"] <= 1
