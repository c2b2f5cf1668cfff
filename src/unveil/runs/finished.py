"""Opening a finished run: the result of an audit and the arrays that later steps use."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from unveil.channels.alignment import ImageAlignment
from unveil.channels.base import ChannelConfig
from unveil.choices import FACE
from unveil.columns import Labels, Texts
from unveil.compare import compare_all
from unveil.config.channels import channels_of
from unveil.config.parsing import parse
from unveil.config.settings import SETTINGS
from unveil.embedding.distributed import SourceSpec
from unveil.embedding.embedder import AuditEmbedder
from unveil.errors import ModelError, SettingError, SourceError
from unveil.faces.models.library import installed_models
from unveil.images import Source
from unveil.images.outputs import check_output, check_outside
from unveil.io.npy import mapped_array, read_npz
from unveil.io.output_file import OutputKind
from unveil.io.remote import is_address
from unveil.io.text import printable
from unveil.presets import resolve
from unveil.progress import Progress
from unveil.results import AuditResult, ClosestImage, ReviewPair
from unveil.runs.checks import FILES, check_array
from unveil.runs.parts import (
    IMAGES,
    PAIRS,
    STATE,
    vector_file,
)
from unveil.runs.recorded import RecordedRun
from unveil.runs.unchanged import UnchangedImages
from unveil.stats.hubness import NEIGHBOURS, closeness
from unveil.stats.score_scale import ScoreScale
from unveil.stats.whitening import Whitening
from unveil.types import ROLES, ChannelVectors, Embedded, Floats, Ints, Role, Vectors

R = TypeVar("R")
# Rows of a table of somebody else's run that are read whatever it weighs, and compressed bytes of each further one.
MANY_ROWS, LEAST_ROW_BYTES = 20_000, 4


@dataclass(frozen=True)
class ChannelState:
    """What one channel of an audit computed: the cohort (C, D), the scale of its scores, and hub corrections.

    They are of the distinct synthetic (Q,), of all training (G,) and of the control images (N,), of the latter by other
    real people, as those of further images.
    """

    cohort: Vectors
    scale: ScoreScale
    on_synthetic: Floats
    on_training: Floats
    on_control: Floats

    def on(self, role: Role) -> Floats:
        """The hub corrections of the images of a role: the distinct synthetic or all training images."""
        return self.on_synthetic if role == "synthetic" else self.on_training

    def correction(self, vectors: Vectors, *, skip_best: bool = False) -> Floats:
        """The hub correction (N,) of further images (N, D); ``skip_best`` as in `unveil.analysis.cohort.Cohort`."""
        n_skipped = int(skip_best)
        found = compare_all(vectors, self.cohort, top_k=NEIGHBOURS + n_skipped, best_queries=False, moments=False)
        return -closeness(found.cosine[:, n_skipped:]) / 2


@dataclass(frozen=True)
class AuditState:
    """What an audit computed on the way to its result.

    Rows of the distinct synthetic images, rows of the control images outside the overlap, which of these were
    tested, the state of each channel, and the whitening of the appearance channel.
    """

    synthetic_rows: Ints
    control_rows: Ints
    control_draw: Ints  # into control_rows
    by_channel: Mapping[str, ChannelState]
    whitening: Whitening | None


class FinishedRun(RecordedRun):
    """The run of a finished audit, opened for reading. It can be opened from any folder.

    ``typed_places`` are what the user typed: the place of a role's images if they were moved, and ``store``. What the
    run itself records counts only if this user made it (``own``), and a warning says if not: a run from somebody else
    decides nothing that is read or written. Its values are checked against their types and against each other. Raises
    StoreError for a folder without a finished audit, for a run of another version, and for files that are damaged or of
    different audits.
    """

    def __init__(self, path: Path, typed_places: Mapping[str, str | None] | None = None) -> None:
        super().__init__(path)
        typed = {name: place for name, place in (typed_places or {}).items() if place}
        places = dict(self._recorded["places"]) if self.own else {}
        recorded_store = str(places.pop("store", None) or "")
        self.store = typed.get("store") or recorded_store
        # A recorded store that was deleted or moved is not made again in its old place.
        there = is_address(recorded_store) or (recorded_store != "" and Path(recorded_store).is_dir())
        self.next_store = typed.get("store") or (recorded_store if there else None)
        self._places: dict[str, str] = {role: p for role in ROLES if (p := typed.get(role) or places.get(role))}
        # The settings of the audit as plain values; paths are absolute.
        self.values: dict[str, Any] = {**_settings_of(self._manifest, own=self.own), **places}
        with self._damage("audit.json"):
            self._settings = parse({name: value for name, value in self.values.items() if name not in ROLES})
        self.seed: int = self._settings["seed"]

    def place(self, role: Role) -> str:
        """The absolute place of a role's images. Raises SettingError if none is known."""
        if role not in self._places:
            raise SettingError(f"--{role}: expected the place of the {role} images, found none. {self._advice(role)}")
        return self._places[role]

    def _advice(self, role: Role) -> str:
        made = "" if self.own else "This user did not make the run, so the places in it are not used. "
        return f"{made}Name their place with --{role}"

    def check_outside(self, option: str, place: Path) -> None:
        """Raises SettingError if a place to write to lies in a folder of the images whose places are known."""
        for role, known in self._places.items():
            check_outside(option, place, resolve(known)[0], f"{role} images")

    def check_output(self, option: str, place: Path, kind: OutputKind) -> None:
        """Raises SettingError for a file to write that lies in such a folder, or that would be lost."""
        check_output(option, place, kind, {f"{r} images": resolve(known)[0] for r, known in self._places.items()})

    def source(self, role: Role) -> Source:
        """The images of a role. Raises SourceError if they are no longer there."""
        if role not in self._sources:
            self._sources[role] = self._open(role)
        return self._sources[role]

    @cached_property
    def _sources(self) -> dict[Role, Source]:
        return {}

    def source_spec(self, role: Role) -> SourceSpec:
        """How the images of a role are opened. Raises SourceError if the audit had none or their place is not known."""
        if role not in self.roles:
            raise SourceError(f"the audit in {self.path} had no {role} images")
        if role not in self._places:
            raise SourceError(f"the {role} images are not known. {self._advice(role)}")
        rule = self._settings["labels"][role]
        if not self.own and rule.kind == "list":
            raise SourceError(
                f"the labels of the {role} images are in a file. This user did not make the run, so the files in it "
                "are not read: audit the images again"
            )
        return SourceSpec(resolve(self._places[role])[0], rule, self._settings["follow_links"])

    def _open(self, role: Role) -> Source:
        spec = self.source_spec(role)
        try:
            return spec.open()
        except SourceError as error:
            raise SourceError(f"{error}; if the {role} images were moved, give their place with --{role}") from None

    def unchanged(self, role: Role) -> UnchangedImages:
        """The images of a role, of which one that has changed since the audit cannot be read. Raises as `source`."""
        table = self._images_of(role)
        return UnchangedImages(self.source(role), Texts.of(table["id"]), Texts.of(table["digest"]))

    def sources(self) -> dict[Role, UnchangedImages]:
        """`unchanged` images of all roles whose images are still there."""
        found: dict[Role, UnchangedImages] = {}
        for role in self.roles:
            with contextlib.suppress(SourceError):
                found[role] = self.unchanged(role)
        return found

    def alignment(self, role: Role) -> ImageAlignment:
        """Which images of a role were read as aligned crops."""
        facts = self.result.manifest["inputs"][role]
        return ImageAlignment.from_key(facts["aligned"], facts["aligned_because"])

    def embedded(self, role: Role) -> Embedded:
        """Every embedded image of a role in every channel of the audit. Vectors are memory-mapped."""
        table = self._images_of(role)
        vectors = {channel: self._vectors(role, channel, len(table)) for channel in self.result.channels}
        first, *others = self.result.channels
        ids = (Texts.of(table["id"]), Labels.of_arrow(table["person"]), Texts.of(table["digest"]))
        views = tuple(ChannelVectors(channel, vectors[channel], "") for channel in others)
        return Embedded(*ids, vectors[first], self.result.models[0]["model_id"], views=views, channel=first)

    def _vectors(self, role: Role, channel: str, n: int) -> Vectors:
        """The unit vectors (n, D) float32 of a channel, memory-mapped.

        In a run of this user, whose checksums were compared, no value is read for it.
        """
        name = self._name(vector_file(self.path, role, channel))
        file = self._file(name)
        with self._damage(name):
            rows: Vectors = mapped_array(file, np.float32, 2, finite=False)
            if len(rows) != n:
                raise ValueError(f"expected {n} vectors, found {len(rows)}")
            return rows if self.own else check_array(channel, rows, np.float32, n, None, unit=True)

    def _records(self, record: Callable[..., R], name: str) -> tuple[R, ...]:
        rows = self.table(name)
        # Rows of a run name images, so they differ. Equal ones would cost a file nothing and memory gigabytes.
        if not self.own and len(rows) > max(MANY_ROWS, (self.path / name).stat().st_size // LEAST_ROW_BYTES):
            raise self._damaged(name, f"{len(rows)} rows")
        with self._damage(name):
            return tuple(record(**row) for row in rows.to_pylist())

    @cached_property
    def pairs(self) -> tuple[ReviewPair, ...]:
        """The pairs to review: findings first, control pairs last."""
        pairs = self._records(ReviewPair, PAIRS)
        if not self.own:
            table = self.table(PAIRS)
            with self._damage(PAIRS):
                for role in ("training", "control"):
                    self._check_reference(table.filter(pa.compute.equal(table["role"], role)), "real_id", role)
        return pairs

    @cached_property
    def images(self) -> tuple[ClosestImage, ...]:
        """The distinct synthetic images, each with its closest training image."""
        return self._records(ClosestImage, IMAGES)

    @cached_property
    def state(self) -> AuditState:
        """What the audit computed on the way to its result."""
        file = self._file(STATE)
        with self._damage(STATE):
            return self._read_state(read_npz(file))

    def _read_state(self, arrays: Mapping[str, npt.NDArray[Any]]) -> AuditState:
        """The state in these arrays. Raises ValueError if they do not fit each other or the tables of the run."""
        n = {role: self.result.counts[role].embedded if role in self.roles else 0 for role in ROLES}

        def array(name: str, *form: Any, **bounds: Any) -> Any:
            return check_array(name, arrays.get(name), *form, **bounds)

        synthetic = array("synthetic_rows", np.int64, None, below=n["synthetic"])
        control = array("control_rows", np.int64, None, below=n["control"])
        draw = array("control_draw", np.int64, None, below=len(control))
        lengths = {"on_synthetic": len(synthetic), "on_training": n["training"], "on_control": len(control)}
        by_channel = {}
        for channel in self.result.channels:
            middle, spread = array(f"{channel}.standard", np.float64, 2).tolist()
            if spread <= 0:
                raise ValueError(f"{channel}.standard: expected a spread above 0, found {spread:g}")
            dimension = self._vectors("training", channel, n["training"]).shape[1]
            corrections = {name: array(f"{channel}.{name}", np.float64, length) for name, length in lengths.items()}
            cohort = array(f"{channel}.cohort", np.float32, None, dimension, unit=True)
            if not len(cohort):
                raise ValueError(f"{channel}.cohort: expected vectors, found none")
            by_channel[channel] = ChannelState(cohort, ScoreScale(middle, spread), **corrections)
        whitening = None
        if "whitening.rows" in arrays:
            d = array("whitening.centre", np.float64, None).shape[0]
            whitening = Whitening(arrays["whitening.centre"], array("whitening.rows", np.float64, d, d))
        return AuditState(synthetic, control, draw, by_channel, whitening)

    @property
    def channel_config(self) -> ChannelConfig:
        """The models, the detector and the channels of the audit.

        In a run of somebody else, model files are those of the library with the same SHA-256. Raises ModelError if one
        is missing.
        """
        config = channels_of(self._settings)
        return config if self.own else from_library(config, model_keys(self.result))

    @property
    def detector(self) -> str | None:
        """The detector of the audit. Raises ModelError as `channel_config`."""
        return self.channel_config.detector

    def channels(self, progress: Progress) -> AuditEmbedder:
        """The channels of the audit, with the weights and the whitening that it learned.

        Raises SettingError if precomputed embeddings were audited, and ModelError if a model is no longer the same.
        """
        if any(facts["kind"] == "embeddings" for facts in self.result.manifest["inputs"].values()):
            raise SettingError(
                f"the audit in {self.path} used precomputed embeddings, so no model can embed a new image; audit the "
                "images instead"
            )
        return self._restored(self.channel_config, progress, detects=True)

    def check_models(self, progress: Progress) -> None:
        """Raises ModelError if a model that embeds the images of the audit is no longer the same."""
        inputs = self.result.manifest["inputs"].values()
        images = [facts for facts in inputs if facts["kind"] != "embeddings"]
        if images:
            # Beside precomputed embeddings, images have the face channel alone.
            channels = self.channel_config.channels if len(images) == len(inputs) else (FACE,)
            # Nothing is detected in aligned crops, so another detector changes nothing there.
            detects = any(facts["aligned"] != "all" for facts in images)
            self._restored(replace(self.channel_config, channels=channels), progress, detects=detects)

    def _restored(self, config: ChannelConfig, progress: Progress, *, detects: bool) -> AuditEmbedder:
        channels = AuditEmbedder(config, {}, progress=progress)
        keys = model_keys(self.result)
        channels.restore(
            *(self.result.models, self.state.whitening),
            detector=keys["detector"] if detects else None,
            copy_model=keys["copy_model"],
        )
        return channels


def _settings_of(manifest: Mapping[str, Any], *, own: bool) -> dict[str, Any]:
    """The settings in a manifest that decide its result. Those of somebody else name no file and follow no link."""
    decide = {name: value for name, value in manifest["settings"].items() if name in SETTINGS}
    decide = {name: value for name, value in decide.items() if SETTINGS[name].changes_result}
    if own:
        return decide
    return {**{name: value for name, value in decide.items() if name not in FILES}, "follow_links": False}


class ModelKeys(TypedDict):
    """What identifies the face models, the detector and the copy model: the SHA-256 of the file and of all that decides
    a vector, or a key of the version."""

    models: list[str]
    detector: str
    copy_model: str


def model_keys(result: AuditResult) -> ModelKeys:
    """The keys of the models of an audit: of the face models, the detector and the copy-detection model."""
    manifest = result.manifest
    return {
        "models": [f"{facts['sha256']} {facts['model_id']}" for facts in result.models],
        "detector": manifest["detector"]["key"],
        "copy_model": manifest.get("copy_model", {}).get("key", ""),
    }


def from_library(config: ChannelConfig, keys: ModelKeys) -> ChannelConfig:
    """The same configuration with model files of the library, found by their SHA-256. Raises ModelError if one is
    missing."""
    known = [*keys["models"], *[""] * len(config.models)]
    return replace(
        config,
        models=tuple(_installed(name, key) for name, key in zip(config.models, known, strict=False)),
        detector=_installed(config.detector, keys["detector"]),
        copy_model=_installed(config.copy_model, keys["copy_model"]),
    )


def _installed(name: str | None, key: str) -> str | None:
    """A model by its name, or for the path of one the file in the library whose SHA-256 is in ``key``, described alike
    if there are several.

    A name that is also a file in the current folder counts as a path.
    """
    if name is None or (Path(name).name == name and not Path(name).expanduser().exists()):
        return name
    found = [model for model in installed_models() if model.spec is not None and model.spec.sha256 in key]
    found.sort(key=lambda model: model.spec is None or model.spec.model_id not in key)
    if found:
        return str(found[0].path)
    raise ModelError(
        f"{printable(name)}: expected a model of the library, found none with its SHA-256. Another user named this "
        "path, so it is not used: install the file with unveil models add"
    )
