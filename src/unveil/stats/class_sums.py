"""Sums of vectors by class, block by block."""

from __future__ import annotations

import numpy as np
import scipy

from unveil.types import Floats, Ints, Vectors

# Vectors that are summed at a time.
BLOCK = 2**16


def class_sums(vectors: Vectors, codes: Ints, n_classes: int) -> Floats:
    """The sum (K, D) of the vectors (N, D) of each class; ``codes`` (N,) are the classes, negative for none.

    Memory holds BLOCK vectors in double precision at a time.
    """
    total = np.zeros((n_classes, vectors.shape[1]))
    for start in range(0, len(codes), BLOCK):
        block = codes[start : start + BLOCK]
        rows = np.flatnonzero(block >= 0)
        members = scipy.sparse.csr_array((np.ones(len(rows)), (block[rows], rows)), shape=(n_classes, len(block)))
        total += members @ np.asarray(vectors[start : start + BLOCK], np.float64)
    return total
