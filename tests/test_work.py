"""The work of two small audits stays what was recorded in tests/golden/work.json: counts, which no machine changes.

Pairs compared, images decoded, bytes decoded and vectors embedded are counted by stage. More work is a regression, less
is an improvement: `pytest tests/test_work.py --write-golden` records either, and the file shows it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builders import audit, unit_rows
from unveil.channels.appearance import AppearanceChannel
from unveil.compare import api
from unveil.demo.world import make_world
from unveil.faces.embedding_model import EmbeddingModel
from unveil.images import decode
from unveil.progress import Silent

RECORDED = Path(__file__).parent / "golden" / "work.json"
# Near-duplicates and kinds look at pairs that floats choose; a stage may lose or gain a few.
TOLERANCE, ALLOWANCE = 0.02, 3

Counts = dict[str, dict[str, int]]


class CountedWork(Silent):
    """Counts the work of an audit by its stage."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stage = "start"
        self.counts: Counter[tuple[str, str]] = Counter()
        self._count(monkeypatch, api, "_compare", {"pairs compared": lambda q, g, *_: len(q) * len(g)})
        self._count(
            monkeypatch,
            *(decode, "_pixels"),
            {"images decoded": lambda *_: 1, "bytes decoded": lambda _, data, *__: len(data)},
        )
        for channel, name in ((EmbeddingModel, "face vectors"), (AppearanceChannel, "appearance vectors")):
            self._count(monkeypatch, channel, "embed", {name: lambda _, crops: len(crops)})

    def _count(
        self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, units: dict[str, Callable[..., int]]
    ) -> None:
        function = getattr(owner, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            for unit, number in units.items():
                self.counts[self.stage, unit] += number(*arguments)
            return function(*arguments, **options)

        monkeypatch.setattr(owner, name, counted)

    def start(self, stage: str, total: int, unit: str) -> None:
        self.stage = stage

    def table(self) -> Counts:
        """The counts by stage and unit."""
        made: Counts = {}
        for (stage, unit), n in sorted(self.counts.items()):
            made.setdefault(stage, {})[unit] = n
        return made


def work_of_images(folder: Path, progress: CountedWork) -> None:
    world = make_world(folder / "world", 7, training=60, control=80, fresh=40, planted=4)
    progress.counts.clear()
    audit(world.synthetic, world.training, world.control, out=folder / "run", store=folder / "store", progress=progress)


def work_of_embeddings(folder: Path, progress: CountedWork) -> None:
    rng, paths = np.random.default_rng(3), []
    for role, n in (("synthetic", 600), ("training", 800), ("control", 500)):
        np.save(folder / f"{role}.npy", unit_rows(rng, n, 64))
        np.save(folder / f"{role}_labels.npy", np.array([f"{role}{i // 4}" for i in range(n)]))
        paths.append(folder / f"{role}.npy")
    audit(*paths, out=folder / "run", progress=progress)


AUDITS = {"images": work_of_images, "embeddings": work_of_embeddings}


def differences(found: Counts, recorded: Counts) -> list[str]:
    """The counts that differ by more than is allowed."""
    told = []
    for stage, unit in sorted({(s, u) for counts in (found, recorded) for s, units in counts.items() for u in units}):
        was, now = recorded.get(stage, {}).get(unit, 0), found.get(stage, {}).get(unit, 0)
        allowed = max(TOLERANCE * was, ALLOWANCE if unit in ("images decoded", "face vectors") else 0)
        if abs(now - was) > allowed:
            told.append(f"{stage}: {unit} {was:,} -> {now:,}")
    return told


@pytest.mark.parametrize("name", AUDITS)
def test_an_audit_does_the_recorded_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    counted = CountedWork(monkeypatch)
    AUDITS[name](tmp_path, counted)
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    if request.config.getoption("write_golden"):
        recorded[name] = counted.table()
        RECORDED.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")
    told = differences(counted.table(), recorded[name])
    assert not told, "\n".join(["the work of an audit changed; record it with --write-golden if it should:", *told])


def test_more_and_less_work_are_noticed() -> None:
    counts = {"comparing": {"pairs compared": 1000}, "embedding": {"images decoded": 100}}
    assert not differences(counts, counts)
    for stage, unit, n in (("comparing", "pairs compared", 1030), ("embedding", "images decoded", 90), ("new", "x", 1)):
        other = {**counts, stage: {unit: n}}
        assert differences(other, counts) and differences(counts, other)
