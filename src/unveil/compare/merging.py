"""What several tiles leave, as one. Better is a higher score, then a lower row or query; parts come in any order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unveil.compare.topk import QuerySpec, TopMatches

Arrays = dict[str, np.ndarray[Any, Any]]


def merge_rows(parts: Sequence[Arrays], wanted: QuerySpec) -> Arrays:
    """The best gallery rows (P, k) of the same queries, of several stretches of the gallery."""
    rows = np.concatenate([part["rows"] for part in parts], axis=1)
    score = np.concatenate([part["score"] for part in parts], axis=1)
    order = np.lexsort((rows, -score), axis=1)[:, : wanted.top_k]
    return {"rows": np.take_along_axis(rows, order, 1), "score": np.take_along_axis(score, order, 1)}


def merge_columns(parts: Sequence[Arrays], wanted: QuerySpec) -> Arrays:
    """The best query (S,) of the same gallery rows, of several panels."""
    query, score = parts[0]["best_query"].copy(), parts[0]["score"].copy()
    for part in parts[1:]:
        better = (part["score"] > score) | ((part["score"] == score) & (part["best_query"] < query))
        query[better], score[better] = part["best_query"][better], part["score"][better]
    return {"best_query": query, "score": score}


def merge_overall(parts: Sequence[Arrays], wanted: QuerySpec) -> Arrays:
    """The best pairs of all, which several parts may hold, the counts of the tail and the pairs at the threshold.

    SettingError for too many pairs.
    """
    joined = {name: np.concatenate([part[name] for part in parts]) for name in ("query", "row", "score")}
    order = np.lexsort((joined["row"], joined["query"], -joined["score"]))
    same = (np.diff(joined["query"][order]) == 0) & (np.diff(joined["row"][order]) == 0)
    best = order[np.concatenate([[True], ~same])[: len(order)]][: wanted.top_pairs]
    n_pairs = sum(len(part["pairs"]) for part in parts)
    if n_pairs > wanted.max_pairs:
        raise wanted.too_many_pairs()
    return {
        **{name: array[best] for name, array in joined.items()},
        "counts": np.sum([part["counts"] for part in parts], axis=0),
        "pairs": np.concatenate([part["pairs"] for part in parts]),
        "pairs_score": np.concatenate([part["pairs_score"] for part in parts]),
    }


MERGE: dict[str, Callable[[Sequence[Arrays], QuerySpec], Arrays]] = {
    "rows": merge_rows,
    "columns": merge_columns,
    "overall": merge_overall,
}


def put_overall(kept: TopMatches, overall: Arrays) -> None:
    """Takes what `merge_overall` left of everything."""
    n = len(overall["query"])
    # A list has its worst first, places still free before them.
    kept.top_query[len(kept.top_query) - n :] = overall["query"][::-1]
    kept.top_row[len(kept.top_row) - n :] = overall["row"][::-1]
    kept.top_score[len(kept.top_score) - n :] = overall["score"][::-1]
    kept.counts = overall["counts"]
    if kept.wanted.threshold is not None:
        pairs = overall["pairs"]
        kept.take_pairs(pairs[:, 0], pairs[:, 1], overall["pairs_score"])
