"""Merges the results of several tiles.

A pair is better if its score is higher, then if its row or query is lower. Parts may come in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unveil.compare.topk import QuerySpec, TopMatches

Arrays = dict[str, np.ndarray[Any, Any]]


def merge_rows(parts: Sequence[Arrays], spec: QuerySpec) -> Arrays:
    """The best gallery rows (P, k) of the same queries, from several spans of the gallery."""
    rows = np.concatenate([part["rows"] for part in parts], axis=1)
    score = np.concatenate([part["score"] for part in parts], axis=1)
    order = np.lexsort((rows, -score), axis=1)[:, : spec.top_k]
    return {"rows": np.take_along_axis(rows, order, 1), "score": np.take_along_axis(score, order, 1)}


def merge_columns(parts: Sequence[Arrays], spec: QuerySpec) -> Arrays:
    """The best query (S,) of the same gallery rows, from several panels."""
    query, score = parts[0]["best_query"].copy(), parts[0]["score"].copy()
    for part in parts[1:]:
        better = (part["score"] > score) | ((part["score"] == score) & (part["best_query"] < query))
        query[better], score[better] = part["best_query"][better], part["score"][better]
    return {"best_query": query, "score": score}


def merge_overall(parts: Sequence[Arrays], spec: QuerySpec) -> Arrays:
    """The best pairs of all, of which parts may hold the same one, the tail counts, and the pairs at the threshold.

    Raises SettingError for too many pairs.
    """
    joined = {name: np.concatenate([part[name] for part in parts]) for name in ("query", "row", "score")}
    order = np.lexsort((joined["row"], joined["query"], -joined["score"]))
    same = (np.diff(joined["query"][order]) == 0) & (np.diff(joined["row"][order]) == 0)
    best = order[np.concatenate([[True], ~same])[: len(order)]][: spec.top_pairs]
    n_pairs = sum(len(part["pairs"]) for part in parts)
    if n_pairs > spec.max_pairs:
        raise spec.too_many_pairs()
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


def set_overall(matches: TopMatches, overall: Arrays) -> None:
    """Sets the best pairs, the tail counts and the pairs at the threshold to a result of `merge_overall`."""
    n = len(overall["query"])
    # A list has its worst pair first, after the free places.
    matches.top_query[len(matches.top_query) - n :] = overall["query"][::-1]
    matches.top_row[len(matches.top_row) - n :] = overall["row"][::-1]
    matches.top_score[len(matches.top_score) - n :] = overall["score"][::-1]
    matches.counts = overall["counts"]
    if matches.spec.threshold is not None:
        pairs = overall["pairs"]
        matches.add_pairs(pairs[:, 0], pairs[:, 1], overall["pairs_score"])
