"""Whether control people were held out: few pairs decide it, as all pairs would."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.analysis.worlds import DIMENSION, crowd, embedded, unit
from unveil.analysis.cohort import channel_context, pooled_cohort
from unveil.analysis.comparisons import Comparisons
from unveil.analysis.held_out import check_held_out
from unveil.analysis.scores import CONTROL_DEPTH, score_side
from unveil.compare import compare_all, open_backend
from unveil.io.run_directory import RunDirectory
from unveil.progress import Silent


class ComparedPairs(Silent):
    """The pairs of all comparisons that are started."""

    def __init__(self) -> None:
        self.pairs = 0

    def start(self, stage: str, total: int, unit: str) -> None:
        self.pairs += total if unit == "pairs" else 0


@pytest.mark.parametrize("copied", [0, 40])
def test_few_pairs_are_compared_again(tmp_path: Path, copied: int) -> None:
    """In a world of hubs, by lists of the uncorrected cosine and of the hub-corrected score."""
    rng = np.random.default_rng(copied)
    people = crowd(rng, 800)
    control = embedded(unit(people), "c", [f"c{i}" for i in range(800)])
    made = crowd(rng, 1500)
    made[:copied] = people[:copied] + rng.normal(size=(copied, DIMENSION)) * 0.06
    synthetic = embedded(unit(made), "s")
    contexts = {"face": channel_context(synthetic, pooled_cohort(control, embedded(unit(crowd(rng, 800)), "t")))}
    outcomes, pairs = [], []
    for depth in (CONTROL_DEPTH, len(control)):  # lists of all rows decide without a comparison
        compared = ComparedPairs()
        compare = Comparisons(RunDirectory(tmp_path / str(depth), {}), open_backend("auto", 1), compared)
        side = score_side("control", control, contexts, compare, 1)
        raw = compare_all(synthetic.vectors, control.vectors, top_k=depth, moments=False)
        compared.pairs = 0
        outcomes.append(
            check_held_out(*(synthetic, replace(side, raw=raw), [], compare), with_images=False, scored_by=contexts)
        )
        pairs.append(compared.pairs)
    assert outcomes[0] == outcomes[1] and len(outcomes[0]) == 1
    assert (outcomes[0][0].status == "fail") == (copied > 0)
    assert 0 < pairs[0] < 0.15 * len(synthetic) * len(control) and pairs[1] == 0
