"""The baselines of an audit, by the vectors of every channel."""

from __future__ import annotations

import numpy as np

from unveil.analysis.findings import Findings
from unveil.compare import Backend, compare_all
from unveil.results import Baselines
from unveil.stats.baselines import BASELINES, BaselineInputs
from unveil.stats.baselines.memorisation import NEIGHBOURS
from unveil.types import Embedded, Floats, Generators, Ints, Vectors

# Images of each role that are used; more change no figure in its second digit.
MAX_IMAGES = 5000
MIN_IMAGES = 4


def measure_baselines(
    synthetic: Embedded, found: Findings, generators: Generators, backend: Backend
) -> tuple[Baselines, ...]:
    """The baselines by each channel; none without control people."""
    if found.control is None:
        return ()
    training, control = found.training.images, found.control.side.images
    every = (
        baselines_of_channel(channel, synthetic, training, control, generators(f"measures {channel}"), backend)
        for channel in synthetic.channels
    )
    return tuple(baselines for baselines in every if baselines is not None)


def baselines_of_channel(
    channel: str,
    synthetic: Embedded,
    training: Embedded,
    control: Embedded,
    rng: np.random.Generator,
    backend: Backend,
) -> Baselines | None:
    """The baselines by one channel, on equally many training and control images.

    Distances are Euclidean between unit vectors. Half of the control images are the reference of GAN-Leaks. None where
    there are fewer than MIN_IMAGES training or control images.
    """
    n = min(len(training), len(control), MAX_IMAGES)
    if n < MIN_IMAGES:
        return None
    s, t, c = (
        np.asarray(e.through(channel).vectors[np.sort(rng.permutation(len(e))[:n_images])])
        for e, n_images in ((synthetic, MAX_IMAGES), (training, n), (control, n))
    )

    def nearest(queries: Vectors, gallery: Vectors, k: int = 1) -> tuple[Floats, Ints]:
        """Distances (Q, k) to the nearest, ascending, and the row (Q,) of the nearest."""
        found = compare_all(queries, gallery, top_k=k, best_queries=False, backend=backend, moments=False)
        return np.sqrt(np.maximum(0, 2 - 2 * found.cosine)), found.rows[:, 0]

    reference, tested = c[: n // 2], c[n // 2 :]
    synthetic_to_training, synthetic_nearest = nearest(s, t, min(NEIGHBOURS, n))
    held_out_to_training, held_out_nearest = nearest(c, t)
    inputs = BaselineInputs(
        synthetic=s,
        training=t,
        held_out=c,
        synthetic_to_training=synthetic_to_training,
        synthetic_nearest=synthetic_nearest,
        synthetic_to_held_out=nearest(s, c)[0][:, 0],
        training_to_other=nearest(t, t, 2)[0][:, -1],
        held_out_to_training=held_out_to_training[:, 0],
        held_out_nearest=held_out_nearest,
        training_to_synthetic=nearest(t, s)[0][:, 0],
        training_to_reference=nearest(t, reference)[0][:, 0],
        tested_to_synthetic=nearest(tested, s)[0][:, 0],
        tested_to_reference=nearest(tested, reference)[0][:, 0],
        rng=rng,
    )
    measured = {baseline.name: baseline.measure(inputs) for baseline in BASELINES}
    return Baselines(channel=channel, n_synthetic=len(s), n_real=n, **measured)
