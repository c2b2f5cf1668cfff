"""The Parquet tables of a run that are for its user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pyarrow as pa

from unveil.io.parquet import row_groups, write_row_groups, write_table
from unveil.report.text import false_findings
from unveil.results import AuditResult, IdentityFindings, LabelLink, LinkedClass
from unveil.types import Embedded, Matches

CHANNEL_SCORE = pa.struct(
    [(name, pa.string()) for name in ("channel", "synthetic_id", "training_id")]
    + [(name, pa.float64()) for name in ("score", "cosine", "p", "q")]
)

IDENTITIES = pa.schema(
    {
        "identity": pa.string(),
        "score": pa.float64(),
        "q": pa.float64(),
        "n_images": pa.int64(),
        "n_agreeing": pa.int64(),
        "synthetic_id": pa.string(),
        "training_id": pa.string(),
        "channel": pa.string(),
        "significant": pa.bool_(),
    }
)


def write_parquet_table(
    path: Path,
    columns: Mapping[str, Sequence[object] | np.ndarray[tuple[int, ...], np.dtype[np.generic]]],
    note: str | None = None,
) -> None:
    """One Parquet file, written atomically. ``note`` goes to the key `note` of its metadata."""
    rows = pa.table(dict(columns))
    write_table(path, rows if note is None else rows.replace_schema_metadata({"note": note}))


def write_tables(
    result: AuditResult,
    identities: IdentityFindings,
    link: LabelLink | None,
    run: Path,
    matches: Matches,
    synthetic: Embedded,
    training: Embedded,
) -> None:
    """Writes people, all synthetic identities, linked classes, rejects, and matches.

    Matches are the closest training images of each synthetic image.
    """
    people, fdr = result.people, result.manifest["settings"]["fdr"]
    write_parquet_table(
        run / "people.parquet",
        {
            "person": [p.person for p in people],
            "score": [p.score for p in people],
            "cosine": [p.cosine for p in people],
            "p": pa.array([p.p for p in people], pa.float64()),
            "q": pa.array([p.q for p in people], pa.float64()),
            "p_gpd": pa.array([p.p_gpd for p in people], pa.float64()),
            "q_gpd": pa.array([p.q_gpd for p in people], pa.float64()),
            "synthetic_id": [p.synthetic_id for p in people],
            "training_id": [p.training_id for p in people],
            "n_images": [p.n_images for p in people],
            "p_cosine": pa.array([p.p_cosine for p in people], pa.float64()),
            "q_cosine": pa.array([p.q_cosine for p in people], pa.float64()),
            "kind": pa.array([None if p.kind is None else p.kind.kind for p in people], pa.string()),
            "channel": [p.channel for p in people],
            "identity": pa.array([None if p.identity is None else p.identity.identity for p in people], pa.string()),
            "identity_images": pa.array(
                [None if p.identity is None else p.identity.n_images for p in people], pa.int64()
            ),
            "identity_agreeing": pa.array(
                [None if p.identity is None else p.identity.n_agreeing for p in people], pa.int64()
            ),
            "channels": pa.array([[asdict(score) for score in p.channels] for p in people], pa.list_(CHANNEL_SCORE)),
            "resamples_significant": pa.array([p.resamples_significant for p in people], pa.int64()),
            "significant_by": pa.array([list(p.significant_by) for p in people], pa.list_(pa.string())),
        },
        _note(len(result.significant_people), result.expected_false_people, fdr),
    )
    _write_matches(run / "matches.parquet", matches, synthetic, training)
    if link is not None and link.classes:
        columns = {f.name: [getattr(c, f.name) for c in link.classes] for f in fields(LinkedClass)}
        write_parquet_table(run / "label_link.parquet", columns)
    rejects = [(role, r) for role, of_role in result.rejects.items() for r in of_role]
    write_parquet_table(
        run / "rejects.parquet",
        {
            "role": pa.array([role for role, _ in rejects], pa.string()),
            "id": pa.array([r.id for _, r in rejects], pa.string()),
            "stage": pa.array([r.stage for _, r in rejects], pa.string()),
            "reason": pa.array([r.reason for _, r in rejects], pa.string()),
            "detail": pa.array([r.detail for _, r in rejects], pa.string()),
        },
    )
    note = _note(identities.n_significant, result.expected_false_identities, fdr)
    groups = (identities.table(rows) for rows in row_groups(len(identities)))
    write_row_groups(run / "identities.parquet", IDENTITIES.with_metadata({"note": note}), groups)


def _write_matches(path: Path, matches: Matches, synthetic: Embedded, training: Embedded) -> None:
    """The closest training images of each synthetic image, a row group at a time."""
    k = matches.rows.shape[1]
    rows, cosine = matches.rows.reshape(-1), matches.cosine.reshape(-1)
    schema = pa.schema(
        {"synthetic_id": pa.string(), "rank": pa.int64(), "training_id": pa.string(), "cosine": pa.float64()}
    )
    groups = (
        {
            "synthetic_id": synthetic.ids.take(pairs // k).array,
            "rank": pairs % k + 1,
            "training_id": training.ids.take(rows[pairs]).array,
            "cosine": cosine[pairs],
        }
        for pairs in row_groups(len(rows))
    )
    write_row_groups(path, schema, groups)


def _note(n_significant: int, expected: float | None, fdr: float) -> str:
    """How many rows are significant, and how many of them are expected to be false."""
    return f"{n_significant} rows are significant. {false_findings(expected, fdr)}"
