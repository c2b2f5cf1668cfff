"""What the measures of others say of the same embeddings."""

from __future__ import annotations

import numpy as np

from unveil.analysis.findings import Findings
from unveil.compare import Backend, compare_all
from unveil.config.settings import Settings
from unveil.results.audit import Baselines
from unveil.stats import baselines as measures
from unveil.stats.membership import auc_estimate
from unveil.types import Embedded, Floats, Ints, Vectors

# Pictures of each role that take part; more change no figure in its second digit.
MAX_IMAGES = 5000
# Cells of the partition in which C_T is averaged: one for so many training pictures.
CELL = 250


def measure_baselines(
    synthetic: Embedded, found: Findings, settings: Settings, backend: Backend
) -> tuple[Baselines, ...]:
    """The measures by every channel's vectors; none without control people."""
    if found.ground is None:
        return ()
    training, control = found.training.images, found.ground.control.images
    each = (
        baselines_of_channel(channel, synthetic, training, control, settings, backend) for channel in synthetic.channels
    )
    return tuple(measured for measured in each if measured is not None)


def baselines_of_channel(
    channel: str, synthetic: Embedded, training: Embedded, control: Embedded, settings: Settings, backend: Backend
) -> Baselines | None:
    """The measures by one channel's vectors, on equally many training and control pictures.

    Distances are Euclidean between unit vectors. GAN-Leaks needs a reference: half of the control pictures. None where
    there are fewer than four of either.
    """
    rng = settings.random(f"measures {channel}")
    n = min(len(training), len(control), MAX_IMAGES)
    if n < 4:
        return None
    s, t, c = (
        np.asarray(e.through(channel).vectors[np.sort(rng.permutation(len(e))[:most])])
        for e, most in ((synthetic, MAX_IMAGES), (training, n), (control, n))
    )
    to_t, rows = _nearest(s, t, backend, 2)
    to_c, _ = _nearest(s, c, backend, 1)
    among_t, _ = _nearest(t, t, backend, 2)
    c_to_t, c_rows = _nearest(c, t, backend, 1)
    cells = measures.cells(t, max(1, n // CELL), rng)
    reference, tested = c[: n // 2], c[n // 2 :]
    members, others = (
        measures.calibrated_distance(_nearest(x, s, backend, 1)[0][:, 0], _nearest(x, reference, backend, 1)[0][:, 0])
        for x in (t, tested)
    )
    return Baselines(
        channel=channel,
        authenticity=measures.authenticity(to_t[:, 0], rows[:, 0], among_t[:, -1]),
        data_copying=measures.data_copying(to_t[:, 0], c_to_t[:, 0], cells[rows[:, 0]], cells[c_rows[:, 0]]),
        closer_to_training=measures.closer_to_training(to_t[:, 0], to_c[:, 0]),
        neighbour_ratio=measures.neighbour_ratio(to_t[:, 0], to_t[:, -1]),
        gan_leaks_auc=auc_estimate(members, others, rng),
        n_synthetic=len(s),
        n_real=n,
    )


def _nearest(queries: Vectors, gallery: Vectors, backend: Backend, k: int) -> tuple[Floats, Ints]:
    """Distances (Q, k) to the nearest, ascending, and their rows."""
    found = compare_all(queries, gallery, top_k=k, best_queries=False, backend=backend, moments=False)
    return np.sqrt(np.maximum(0, 2 - 2 * found.cosine)), found.rows
