"""Whether findings concentrate in one stratum."""

from __future__ import annotations

from collections.abc import Sequence

import scipy

# A stratum with a smaller p-value gets a warning.
CONCENTRATED = 0.01


def concentration_p(significant: Sequence[int], tested: Sequence[int]) -> list[float]:
    """A p-value for each stratum: that it holds so many of the findings by chance.

    ``significant`` and ``tested`` are the numbers of significant and of tested people of each stratum. If findings did
    not depend on the stratum, the number in one of them would be hypergeometric (Fisher's exact test, one-sided). Each
    p is multiplied by the number of strata (Bonferroni).
    """
    n_found, n_people, n_strata = sum(significant), sum(tested), len(tested)
    return [
        min(1.0, n_strata * float(scipy.stats.hypergeom.sf(k - 1, n_people, n, n_found)))
        for k, n in zip(significant, tested, strict=True)
    ]
