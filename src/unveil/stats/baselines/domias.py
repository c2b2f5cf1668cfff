"""DOMIAS: membership by a ratio of densities. Measured by benchmarks/lab, not by audits."""

from __future__ import annotations

import numpy as np
import scipy

from unveil.types import Floats


def density_ratio(to_generated: Floats, to_reference: Floats, width: float, dimension: int) -> Floats:
    """log p_G(x) - log p_R(x) of real images (N,), with Gaussian kernels of one ``width``.

    Distances are (N, M) to generated and (N, R) to reference images, in vectors of ``dimension`` D. DOMIAS: van Breugel
    et al. 2023, arXiv 2302.12580, with kernel density estimates.
    """

    def log_density(distances: Floats) -> Floats:
        constant = np.log(distances.shape[1]) + dimension * np.log(width * np.sqrt(2 * np.pi))
        return np.asarray(scipy.special.logsumexp(-((distances / width) ** 2) / 2, axis=1) - constant, np.float64)

    return log_density(to_generated) - log_density(to_reference)
