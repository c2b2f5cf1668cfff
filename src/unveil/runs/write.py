"""Writing the parts of a run that `unveil.runs.finished` reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from unveil.analysis.findings import Findings
from unveil.analysis.review_pairs import closest_images
from unveil.config.settings import LISTS, Settings
from unveil.embedding.embed import EmbeddedSource
from unveil.embedding.embedder import AuditEmbedder
from unveil.io.atomic import replacing
from unveil.io.parquet import row_groups, write_row_groups, write_table
from unveil.io.remote import absolute_place
from unveil.results import AuditResult, ClosestImage, Exposures, ReviewPair
from unveil.runs.parts import (
    EXPOSURES,
    IMAGES,
    PAIRS,
    STATE,
    role_file,
)
from unveil.types import ROLES, Embedded, Ints, Role

# Records that become columns at once.
BATCH_ROWS = 16384
ARROW_TYPES = {"float": pa.float64(), "bool": pa.bool_()}


def write_run(
    run: Path,
    result: AuditResult,
    pairs: Sequence[ReviewPair],
    sets: Mapping[Role, EmbeddedSource],
    synthetic: Embedded,
    found: Findings,
    channels: AuditEmbedder,
) -> None:
    """Writes everything that `FinishedRun` reads but the manifest and `audit.json`, which the reports include."""
    write_table(run / PAIRS, _table(ReviewPair, pairs))
    closest = (closest_images(found, synthetic, rows) for rows in row_groups(len(synthetic)))
    write_row_groups(run / IMAGES, _schema(ClosestImage), closest)
    if result.exposures is not None:
        write_table(run / EXPOSURES, exposure_table(result.exposures, result.channels))
    for role, s in sets.items():
        _write_names(role_file(run, role), s.embedded)
    arrays = _state(sets, synthetic, found, channels)
    with replacing(run / STATE) as file:
        np.savez(file, allow_pickle=False, **arrays)


def _write_names(path: Path, embedded: Embedded) -> None:
    """Writes the ids, people and digests of the images of a role."""
    groups = (
        {
            "id": embedded.ids.take(rows).array,
            "person": embedded.people.take(rows).array(),
            "digest": embedded.digests.take(rows).array,
        }
        for rows in row_groups(len(embedded))
    )
    write_row_groups(path, pa.schema(dict.fromkeys(("id", "person", "digest"), pa.string())), groups)


def absolute_places(settings: Settings) -> dict[str, Any]:
    """The paths among the settings, absolute, so that a run can be opened from any folder."""
    sources = {role: settings.source(role) for role in ROLES}
    return {
        **{role: str(location.absolute) for role, location in sources.items() if location is not None},
        "model": [_absolute_file(name) for name in settings.model],
        **{name: _absolute_file(getattr(settings, name)) for name in ("detector", "copy_model", *LISTS)},
        "store": absolute_place(settings.store_place),
    }


def _absolute_file(name: str | Path | None) -> str | None:
    """The file by its absolute path; anything else, such as the name of a model, as it is."""
    if name is None:
        return None
    return str(Path(name).absolute()) if Path(name).is_file() else str(name)


def exposure_table(exposures: Exposures, channels: Sequence[str]) -> pa.Table:
    """The tested people of both roles, with their exposure."""
    names = np.array(channels, object)
    parts = []
    for role in ("training", "control"):
        e = exposures.training if role == "training" else exposures.control
        parts.append(
            pa.table(
                {
                    "role": pa.array([role] * len(e), pa.string()),
                    "person": e.people.array.cast(pa.string()),
                    "score": e.score,
                    "cosine": e.cosine,
                    "n_images": e.n_images,
                    "synthetic_row": e.best_pair[:, 0],
                    "real_row": e.best_pair[:, 1],
                    "channel": pa.array(names[e.channel], pa.string()),
                    "identity_row": e.identity,
                }
            )
        )
    return pa.concat_tables(parts)


def _schema(record: type[Any]) -> pa.Schema:
    return pa.schema([(f.name, ARROW_TYPES.get(str(f.type), pa.string())) for f in fields(record)])


def _table(record: type[Any], rows: Iterable[Any]) -> pa.Table:
    schema = _schema(record)
    remaining, batches = iter(rows), []
    while batch := list(islice(remaining, BATCH_ROWS)):
        batches.append(
            pa.record_batch({f.name: [getattr(row, f.name) for row in batch] for f in fields(record)}, schema)
        )
    return pa.Table.from_batches(batches, schema).combine_chunks()


def _state(
    sets: Mapping[Role, EmbeddedSource], synthetic: Embedded, found: Findings, channels: AuditEmbedder
) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of `AuditState` by name."""
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "synthetic_rows": _rows_of(synthetic, sets["synthetic"].embedded),
        "control_rows": np.zeros(0, np.int64),
        "control_draw": np.zeros(0, np.int64),
    }
    if found.control is not None:
        arrays["control_rows"] = _rows_of(found.control.side.images, sets["control"].embedded)
        arrays["control_draw"] = found.control.subsample.control
    for channel, context in found.contexts.items():
        training = found.training.by_channel[channel]
        arrays[f"{channel}.cohort"] = np.asarray(context.cohort.images.vectors)
        arrays[f"{channel}.standard"] = np.array([training.scale.middle, training.scale.spread])
        arrays[f"{channel}.on_synthetic"] = context.synthetic_correction
        arrays[f"{channel}.on_training"] = training.correction
        of_control = None if found.control is None else found.control.side.by_channel[channel]
        arrays[f"{channel}.on_control"] = np.zeros(0) if of_control is None else of_control.people_correction
    if channels.whitening is not None:
        arrays["whitening.centre"] = channels.whitening.centre
        arrays["whitening.rows"] = channels.whitening.rows
    return arrays


def _rows_of(some: Embedded, everything: Embedded) -> Ints:
    """The rows of ``some`` of the images, which are in the same order."""
    if len(some) == len(everything):
        return np.arange(len(some))
    return some.ids.find(everything.ids)
