"""A finished audit as it lies in its run directory: written once, read by everything that comes after an audit."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, get_args, get_origin

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from cattrs import Converter
from cattrs.errors import BaseValidationError

from unveil.analysis.findings import Findings
from unveil.analysis.review_pairs import ClosestImage, ReviewPair, closest_images
from unveil.channels.alignment import ImageAlignment
from unveil.compare import compare_all
from unveil.config.parsing import settings_from
from unveil.config.settings import Settings
from unveil.embedding.embed import EmbeddedSource
from unveil.embedding.embedder import AuditEmbedder
from unveil.errors import SettingError, SourceError, StoreError
from unveil.images import Source, open_source
from unveil.images.location import Location
from unveil.io.atomic import replacing, write_bytes
from unveil.io.remote import absolute_place
from unveil.io.run_directory import read_manifest
from unveil.presets import resolve
from unveil.progress import Progress
from unveil.results.audit import AuditResult
from unveil.stats.hubness import NEIGHBOURS, closeness
from unveil.stats.score_scale import ScoreScale
from unveil.stats.whitening import Whitening
from unveil.types import ROLES, ChannelVectors, Embedded, Floats, Ints, Role, Vectors

RESULT, STATE = "stores/result.json.gz", "stores/ground.npz"
PAIRS, IMAGES = "pairs.parquet", "pictures.parquet"
# A result larger than this when unpacked is none of ours.
MAX_RESULT_BYTES = 4 * 2**30


@dataclass(frozen=True)
class ChannelState:
    """What one channel made of an audit: the cohort (C, D), the scale of scores, the hub corrections of the distinct
    synthetic (Q,), of all training (G,) and of the tested control pictures (N,), and the best score of the latter with
    the synthetic set."""

    cohort: Vectors
    standard: ScoreScale
    on_synthetic: Floats
    on_training: Floats
    on_control: Floats
    control_score: Floats

    def correction(self, vectors: Vectors) -> Floats:
        """The hub correction (N,) of other pictures (N, D), of people who are not in the cohort."""
        found = compare_all(vectors, self.cohort, top_k=NEIGHBOURS, best_queries=False, moments=False)
        return -closeness(found.cosine) / 2


@dataclass(frozen=True)
class AuditState:
    """What an audit stood on: rows of the distinct synthetic pictures, of the control pictures that are neither overlap
    nor cohort, and which of those took part in the tests; what each channel saw; the whitening of appearances."""

    synthetic_rows: Ints
    control_rows: Ints
    control_draw: Ints  # into control_rows
    by_channel: Mapping[str, ChannelState]
    whitening: Whitening | None


def write_run(
    run: Path,
    result: AuditResult,
    pairs: Sequence[ReviewPair],
    sets: Mapping[Role, EmbeddedSource],
    synthetic: Embedded,
    found: Findings,
    channels: AuditEmbedder,
    settings: Settings,
) -> None:
    """Writes what `FinishedRun` reads: the whole result, who is on each vector, what the audit stood on, the pairs that
    people should look at, and how close each synthetic picture comes."""
    _write_rows(run / PAIRS, ReviewPair, pairs)
    _write_rows(run / IMAGES, ClosestImage, closest_images(found, synthetic))
    for role, s in sets.items():
        columns = {"id": s.embedded.ids, "person": s.embedded.people, "digest": s.embedded.digests}
        with replacing(run / "stores" / f"{role}.parquet") as file:
            pq.write_table(pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}), file)
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "synthetic_rows": _rows_of(synthetic, sets["synthetic"].embedded),
        "control_rows": np.zeros(0, np.int64),
        "control_draw": np.zeros(0, np.int64),
    }
    if found.control is not None:
        control = found.control.side
        arrays["control_rows"] = _rows_of(control.images, sets["control"].embedded)
        arrays["control_draw"] = found.control.subsample.control
    for channel, context in found.contexts.items():
        matches = found.training.by_channel[channel]
        arrays[f"{channel}.cohort"] = np.asarray(context.cohort.images.vectors)
        arrays[f"{channel}.standard"] = np.array([matches.scale.middle, matches.scale.spread])
        arrays[f"{channel}.on_synthetic"] = context.synthetic_correction
        arrays[f"{channel}.on_training"] = matches.correction
        null = None if found.control is None else found.control.side.by_channel[channel]
        arrays[f"{channel}.on_control"] = np.zeros(0) if null is None else null.correction
        arrays[f"{channel}.control_score"] = np.zeros(0) if null is None else null.score
    if channels.whitening is not None:
        arrays["whitening.centre"] = channels.whitening.centre
        arrays["whitening.rows"] = channels.whitening.rows
    with replacing(run / STATE) as file:
        np.savez(file, allow_pickle=False, **arrays)
    document = {
        "result": _converter().unstructure(result),
        "store": absolute_place(settings.store_place),
        "places": {role: _absolute(settings.source(role)) for role in sets},
    }
    text = json.dumps(document, ensure_ascii=True).encode()
    write_bytes(run / RESULT, gzip.compress(text, 6, mtime=0))


def _write_rows(path: Path, kind: type[Any], rows: Sequence[Any]) -> None:
    types = {"float": pa.float64(), "bool": pa.bool_()}
    schema = pa.schema([(f.name, types.get(str(f.type), pa.string())) for f in fields(kind)])
    table = {f.name: [getattr(row, f.name) for row in rows] for f in fields(kind)}
    with replacing(path) as file:
        pq.write_table(pa.table(table, schema), file)


def _rows_of(some: Embedded, all_of_them: Embedded) -> Ints:
    place = {id: row for row, id in enumerate(all_of_them.ids)}
    return np.array([place[id] for id in some.ids], np.int64)


def _absolute(place: Location | None) -> str:
    return str(place if place is None else place.absolute)


class FinishedRun:
    """The run of a finished audit, opened for reading.

    Raises StoreError for a folder that holds no finished audit, or one written by another version. ``places`` say where
    the pictures of a role are now, if they were moved.
    """

    def __init__(self, path: Path, places: Mapping[str, str | None] | None = None) -> None:
        self.path = path
        manifest = read_manifest(path / "manifest.json")
        if manifest is None or manifest.get("status") != "finished":
            state = "holds no audit" if manifest is None else "holds an audit that is not finished; run it again"
            raise StoreError(f"{path} {state}; name the folder given to unveil audit with -o")
        document = self._document()
        try:
            self.result: AuditResult = _converter().structure(document["result"], AuditResult)
            told = {str(role): str(place) for role, place in document["places"].items()}
        except (KeyError, TypeError, ValueError, BaseValidationError):
            raise self._damaged(RESULT) from None
        self.store = str(document.get("store", ""))
        self._places: dict[str, str] = {**told, **{role: where for role, where in (places or {}).items() if where}}
        self.settings: Settings = settings_from({**self.result.manifest["settings"], "out": path})

    def _document(self) -> dict[str, Any]:
        try:
            with gzip.open(self.path / RESULT) as file:
                text = file.read(MAX_RESULT_BYTES)
            document: dict[str, Any] = json.loads(text)
        except FileNotFoundError:
            raise StoreError(
                f"{self.path} was made by another version of unveil; run the same audit again into a new folder"
            ) from None
        except (OSError, EOFError, ValueError):
            raise self._damaged(RESULT) from None
        return document

    def _damaged(self, name: str) -> StoreError:
        return StoreError(f"{self.path / name} is damaged; run the audit again into a new folder")

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles that were audited."""
        return tuple(role for role in ROLES if role in self.result.counts)

    def place(self, role: Role) -> str:
        """Where the pictures of a role were, or where they are now."""
        return self._places[role]

    def source(self, role: Role) -> Source:
        """The pictures of a role, where they were or where they are now; SourceError when they are gone."""
        if role not in self._sources:
            self._sources[role] = self._open(role)
        return self._sources[role]

    @cached_property
    def _sources(self) -> dict[Role, Source]:
        return {}

    def _open(self, role: Role) -> Source:
        if role not in self._places:
            raise SourceError(f"the audit in {self.path} had no {role} pictures")
        rule, follow_links = self.settings.labels.get(role), self.settings.follow_links
        try:
            return open_source(resolve(self._places[role])[0], rule, follow_links=follow_links)
        except SourceError as error:
            raise SourceError(f"{error}; if the {role} pictures were moved, say where with --{role}") from None

    def sources(self) -> dict[Role, Source]:
        """The sources of all roles whose pictures are still there."""
        found: dict[Role, Source] = {}
        for role in self.roles:
            try:
                found[role] = self.source(role)
            except SourceError:
                continue
        return found

    def alignment(self, role: Role) -> ImageAlignment:
        """Which pictures of a role were taken as aligned crops."""
        facts = self.result.manifest["inputs"][role]
        return ImageAlignment.from_key(facts["aligned"], facts["aligned_because"])

    def embedded(self, role: Role) -> Embedded:
        """Every embedded picture of a role, through every channel of the audit; vectors are memory-mapped."""
        try:
            table = pq.read_table(self.path / "stores" / f"{role}.parquet").to_pydict()
            names = {channel: _stem(role, channel) for channel in self.result.channels}
            vectors = {
                channel: np.load(self.path / "stores" / f"{name}.npy", mmap_mode="r", allow_pickle=False)
                for channel, name in names.items()
            }
            first, *others = self.result.channels
            ids = (tuple(table["id"]), tuple(table["person"]), tuple(table["digest"]))
            views = tuple(ChannelVectors(channel, vectors[channel], "") for channel in others)
            return Embedded(*ids, vectors[first], self.result.models[0]["model_id"], views=views, channel=first)
        except (OSError, ValueError, KeyError, pa.ArrowException):
            raise self._damaged(f"stores/{role}") from None

    @cached_property
    def pairs(self) -> tuple[ReviewPair, ...]:
        """The pairs that people should look at, findings first and control pairs last."""
        return tuple(ReviewPair(**row) for row in self._rows(PAIRS))

    @cached_property
    def images(self) -> tuple[ClosestImage, ...]:
        """The distinct synthetic pictures, each with its closest training picture."""
        return tuple(ClosestImage(**row) for row in self._rows(IMAGES))

    def _rows(self, name: str) -> list[dict[str, Any]]:
        try:
            rows: list[dict[str, Any]] = pq.read_table(self.path / name).to_pylist()
        except (OSError, pa.ArrowException):
            raise self._damaged(name) from None
        return rows

    @cached_property
    def ground(self) -> AuditState:
        """What the audit stood on."""
        try:
            with np.load(self.path / STATE, allow_pickle=False) as stored:
                arrays = dict(stored)
            by_channel = {
                channel: ChannelState(
                    cohort=arrays[f"{channel}.cohort"],
                    standard=ScoreScale(*(float(v) for v in arrays[f"{channel}.standard"])),
                    **{
                        name: arrays[f"{channel}.{name}"]
                        for name in ("on_synthetic", "on_training", "on_control", "control_score")
                    },
                )
                for channel in self.result.channels
            }
            whitening = None
            if "whitening.rows" in arrays:
                whitening = Whitening(arrays["whitening.centre"], arrays["whitening.rows"])
            return AuditState(
                arrays["synthetic_rows"], arrays["control_rows"], arrays["control_draw"], by_channel, whitening
            )
        except (OSError, ValueError, KeyError, TypeError):
            raise self._damaged(STATE) from None

    def channels(self, progress: Progress) -> AuditEmbedder:
        """What the audit looked through, with whatever it had learnt.

        Raises SettingError when it looked through embeddings that were given, and ModelError when a network is not the
        one it was.
        """
        if any(facts["kind"] == "embeddings" for facts in self.result.manifest["inputs"].values()):
            raise SettingError(
                f"the audit in {self.path} was given embeddings instead of pictures: nothing says how to look at a new "
                "picture"
            )
        channels = AuditEmbedder(self.settings, {}, progress)
        channels.restore(self.result.models, self.ground.whitening)
        return channels


def _stem(role: Role, channel: str) -> str:
    """The file of a channel's vectors, as an audit names it."""
    return {"face": role, "appearance": f"{role}.appearance.whitened"}.get(channel, f"{role}.{channel}")


def _converter() -> Converter:
    """Records to plain JSON and back; arrays as lists of numbers."""
    converter = Converter()

    def is_array(kind: Any) -> bool:
        return get_origin(kind) is np.ndarray

    def to_array(value: Any, kind: Any) -> Any:
        (dtype,) = get_args(get_args(kind)[1])
        return np.array(value, dtype)

    converter.register_unstructure_hook_func(is_array, lambda array: array.tolist())
    converter.register_structure_hook_func(is_array, to_array)
    return converter
