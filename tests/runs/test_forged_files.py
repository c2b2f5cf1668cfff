"""Studies, protocols, guards and overlaps of strangers with one forged value each: an answer, or an error of this
package."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unveil
from tests.builders import NIGHTLY_FACTOR, PROFILE, unit_rows, write
from tests.runs.forging import NASTY, kinds_of_places, replaced, without
from unveil.errors import InputError, StoreError, UnveilError
from unveil.io.checksums import document_sha256, sealed, unsealed
from unveil.mitigation import Guard
from unveil.planning.protocol import read_protocol, under_protocol
from unveil.results import overlap_from_document, overlap_to_document
from unveil.runs.finished import FinishedRun
from unveil.sharing import OverlapRun
from unveil.study import read_plan

N = 30 * (1 if PROFILE == "ci" else NIGHTLY_FACTOR)


def forgeries(document: Any, seed: int, n: int = N) -> list[tuple[str, Any]]:
    """The document with one other value each; ``n`` of all that there are, drawn at random."""
    every = [(place, i) for place in kinds_of_places(document) for i in (*range(len(NASTY)), None) if place]
    made = []
    for place, i in random.Random(seed).sample(every, min(n, len(every))):
        changed = without(document, place) if i is None else replaced(document, place, NASTY[i])
        made.append((f"{'.'.join(map(str, place))}: {'removed' if i is None else repr(NASTY[i])[:40]}", changed))
    return made


def refused(cases: list[tuple[str, Any]], read: Callable[[Any], object], *errors: type[UnveilError]) -> int:
    """The number of forgeries that are refused, each by one of these errors with a message in one line."""
    n = 0
    for what, changed in cases:
        try:
            read(changed)
        except errors as error:
            assert str(error).isprintable() and len(str(error)) < 2000, what
            n += 1
        except Exception as error:
            raise AssertionError(f"{what}: {type(error).__name__}: {str(error)[:200]}") from error
    return n


@pytest.fixture
def sets(tmp_path: Path) -> dict[str, Path]:
    rng = np.random.default_rng(1)
    for role in ("synthetic", "training", "control"):
        np.savez(tmp_path / f"{role}.npz", vectors=unit_rows(rng, 60, 16), people=[f"{role}-{i}" for i in range(60)])
    return {role: tmp_path / f"{role}.npz" for role in ("synthetic", "training", "control")}


def test_forged_protocols(sets: dict[str, Path], tmp_path: Path) -> None:
    unveil.write_protocol(tmp_path / "protocol.json", *sets.values(), planted_leaks="off")
    values = unsealed(json.loads((tmp_path / "protocol.json").read_bytes()))

    def read(changed: Any) -> None:
        file = write(tmp_path / "forged.json", json.dumps(sealed(changed)))
        read_protocol(file)
        under_protocol({"protocol": file})

    read(values)
    assert refused(forgeries(values, 1), read, InputError) > N / 2


def toml(value: Any) -> str:
    """A value as TOML, in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {toml(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list) and all(isinstance(one, dict) for one in value):
        return "[" + ", ".join(map(toml, value)) + "]"
    return {"NaN": "nan", "Infinity": "inf", "null": "'null'"}.get(json.dumps(value), json.dumps(value))


def test_forged_studies(sets: dict[str, Path], tmp_path: Path) -> None:
    named = {role: file.name for role, file in sets.items()}
    settings = {
        "planted_leaks": "off",
        "resamples": 1,
        "fdr": 0.05,
        "labels": {"training": "none"},
        "channels": ["face"],
    }
    study = {"title": "t", "settings": settings, "set": [{"name": "one", "title": "One", "top_k": 3, **named}]}

    def read(changed: Any) -> None:
        text = "\n".join(f"{name} = {toml(value)}" for name, value in changed.items())
        plan = read_plan(write(tmp_path / "study.toml", text))
        for planned in plan.sets:
            assert str(plan.settings_of(planned, tmp_path / "out").out).startswith(str(tmp_path / "out/runs"))
            plan.absent(planned)

    read(study)
    assert refused(forgeries(study, 2), read, InputError) > N / 3


def test_forged_overlaps(sets: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    unveil.overlap(sets["training"], sets["training"], out=run, store=tmp_path / "store")
    document, manifest = (json.loads((run / name).read_bytes()) for name in ("overlap.json", "manifest.json"))
    manifest["signature"] = "0" * 64

    def use() -> None:
        found = unveil.load(run, unveil.Overlap)
        _ = found.summary(), repr(found), found._repr_html_(), found.pairs.to_frame(), found.images.to_frame()
        opened = OverlapRun(run)
        assert not opened.own and isinstance(opened.is_whole, bool)

    def read(changed: Any) -> None:
        write(run / "overlap.json", json.dumps(changed))
        write(run / "manifest.json", json.dumps({**manifest, "result": document_sha256(changed)}))
        use()

    def read_manifest(changed: Any) -> None:
        write(run / "manifest.json", json.dumps(changed))
        use()

    read(document)
    assert overlap_to_document(overlap_from_document(document)) == document
    assert refused(forgeries(document, 3), read, StoreError) > N / 3
    write(run / "overlap.json", json.dumps(document))
    assert refused(forgeries(manifest, 4), read_manifest, StoreError)


def test_forged_guards(audited: tuple[unveil.AuditResult, Path], tmp_path: Path) -> None:
    Guard.build(FinishedRun(audited[1]), tmp_path / "guard", names=True)
    values = unsealed(json.loads((tmp_path / "guard/guard.json").read_bytes()))
    values["signature"] = "0" * 64

    def read(changed: Any) -> None:
        write(tmp_path / "guard/guard.json", json.dumps(sealed(changed)))
        assert Guard.open(tmp_path / "guard").check([np.zeros((16, 16, 3), np.uint8)])[0].answer == "no face"

    read(values)
    assert refused(forgeries(values, 5, N // 2), read, StoreError, InputError) > N / 5
