"""A redacted copy holds none of the names that an audit was given: of people, files, folders, strata and labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.builders import audit, save_embeddings, unit_rows, write
from unveil.report.redact import redact
from unveil.results import to_document

# In every name that the user gives.
MARK = "Zoltan"


def test_no_name_of_the_user_is_in_a_redacted_copy(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    n, d = {"training": 80, "control": 160}, 32
    real = {role: unit_rows(rng, count, d) for role, count in n.items()}
    synthetic = np.concatenate([real["training"][:30], unit_rows(rng, 60, d)])
    folder = tmp_path / f"{MARK}-sets"
    folder.mkdir()
    labels = {
        "synthetic": [f"{MARK}-class-{i // 3}" for i in range(len(synthetic))],
        **{role: [f"{MARK}-{role}-{i}" for i in range(count)] for role, count in n.items()},
    }
    for role, vectors in {"synthetic": synthetic, **real}.items():
        ids = [f"{MARK}-{role}-{i}.png" for i in range(len(vectors))]
        save_embeddings(folder / f"{role}.npz", vectors, ids, labels[role])
    # All findings are in one stratum, which the limitations then name.
    lines = [f"{label} {MARK}-{'north' if i < 30 else 'south'}" for i, label in enumerate(labels["training"])]
    lines += [f"{label} {MARK}-{'north' if i % 2 else 'south'}" for i, label in enumerate(labels["control"])]
    strata = write(folder / "strata.txt", "\n".join(lines) + "\n")
    sets = [folder / f"{role}.npz" for role in ("synthetic", "training", "control")]
    result = audit(*sets, out=tmp_path / "run", store=tmp_path / "store", strata=strata, redact=True)
    assert result.strata is not None and any("in stratum Zoltan-north" in one for one in result.limitations)
    redacted = redact(result)
    assert redacted.strata is not None and [one.name for one in redacted.strata] == ["no. 1", "no. 2"]
    assert redacted.balance is not None and set(redacted.balance.strata) <= {"no. 1", "no. 2"}
    assert any("in stratum no. 1" in one for one in redacted.limitations)
    files = [*(tmp_path / "run").glob("*.redacted.*"), *(tmp_path / "run/publish").iterdir()]
    texts = {file.name: file.read_text("utf-8") for file in files} | {"document": str(to_document(redacted))}
    assert len(texts) >= 7 and MARK in str(to_document(result))
    for name, text in texts.items():
        assert MARK not in text, f"{name}: ...{text[max(0, text.find(MARK) - 200) : text.find(MARK) + 100]}"
