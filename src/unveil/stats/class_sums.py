"""Sums of vectors by class, block by block."""

from __future__ import annotations

import numpy as np
import scipy

from unveil.types import Floats, Ints, Vectors

# Vectors and dimensions that are summed at a time.
BLOCK, DIMENSIONS = 2**16, 64


def class_sums(vectors: Vectors, codes: Ints, n_classes: int) -> Floats:
    """The sum (K, D) of the vectors (N, D) of each class; ``codes`` (N,) are the classes, negative for none.

    Memory holds DIMENSIONS of BLOCK vectors in double precision at a time.
    """
    total = np.zeros((n_classes, vectors.shape[1]))
    for start in range(0, len(codes), BLOCK):
        block = codes[start : start + BLOCK]
        rows = np.flatnonzero(block >= 0)
        present, place = np.unique(block[rows], return_inverse=True)
        members = scipy.sparse.csr_array((np.ones(len(rows)), (place, rows)), shape=(len(present), len(block)))
        of_block = np.empty((len(present), vectors.shape[1]))
        for first in range(0, vectors.shape[1], DIMENSIONS):
            some = slice(first, first + DIMENSIONS)
            of_block[:, some] = members @ np.asarray(vectors[start : start + BLOCK, some], np.float64)
        total[present] += of_block
    return total
