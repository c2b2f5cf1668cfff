"""No pair lost: every pair at or above a line, against faiss' range search after exact re-scoring.

    python benchmarks/check_pairs.py --rows 100000 --lines 0.4 0.5 0.7

faiss scores in float32, so it is asked for a little more and its pairs are scored again exactly.
"""

from __future__ import annotations

import argparse
import time

import faiss
import numpy as np
from compare import vectors

from unveil.compare import compare_all, exact_cosine

FLOAT32_ERROR = 1e-4  # more than 512 roundings of 2^-24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--lines", type=float, nargs="+", default=[0.4, 0.5, 0.7])
    parser.add_argument("--backends", nargs="+", default=["native", "onnxruntime"])
    args = parser.parse_args()
    queries, gallery = (vectors(args.rows, 512, seed, flat=False) for seed in (1, 2))
    index = faiss.IndexFlatIP(512)
    index.add(gallery)
    print("| line | pairs by faiss | backend | pairs | lost | added | seconds | faiss seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for line in args.lines:
        start = time.perf_counter()
        limits, _, rows = index.range_search(queries, line - FLOAT32_ERROR)
        theirs = time.perf_counter() - start
        q = np.repeat(np.arange(len(queries)), np.diff(limits.astype(np.int64)))
        reached = exact_cosine(queries, gallery, q, rows) >= line
        known = set(zip(q[reached].tolist(), rows[reached].tolist(), strict=True))
        for backend in args.backends:
            start = time.perf_counter()
            found = compare_all(queries, gallery, top_k=0, best_queries=False, threshold=line, backend=backend).pairs
            ours = time.perf_counter() - start
            if found is None:
                raise SystemExit("no pairs were asked for")
            pairs = set(map(tuple, found.tolist()))
            lost, added = len(known - pairs), len(pairs - known)
            print(
                f"| {line} | {len(known)} | {backend} | {len(pairs)} | {lost} | {added} | {ours:.1f} | {theirs:.1f} |"
            )
            if lost or added:
                raise SystemExit(1)


if __name__ == "__main__":
    main()
