"""The channels of an audit: every role through every channel, and several face models as one."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from unveil.channels import AppearanceChannel, FaceImage
from unveil.channels.alignment import ImageAlignment
from unveil.channels.base import ChannelConfig
from unveil.channels.loading import load_channels
from unveil.channels.registration import Registration, fit_registration
from unveil.choices import FACE, Aligned
from unveil.embedding.distributed import SourceOpener, WorkerInput, embed_distributed
from unveil.embedding.embed import (
    EmbeddedSource,
    embed_source,
    read_exclusions,
    resolve_alignment,
)
from unveil.embedding.fusion import concatenate_weighted, fuse, model_weights
from unveil.embedding.images import ImageReader, ImageWorkers
from unveil.embedding.pipeline import EmbeddedPartition, ImagePreprocessor, PipelineSizes, embed_images
from unveil.embedding.precomputed import UNKNOWN_MODEL, check_one_model, read_precomputed
from unveil.embedding.shards import ShardRow, write_vectors
from unveil.engine import Engine
from unveil.errors import ModelError, SettingError
from unveil.faces.probe import check_model
from unveil.faces.trial import try_models
from unveil.images import EmbeddingSource, Source
from unveil.io.remote import absolute_place
from unveil.io.run_directory import RunDirectory
from unveil.io.storage import open_storage
from unveil.io.trust import StoreKey
from unveil.progress import Progress, Silent
from unveil.stats.whitening import CHUNK, Whitening, fit_whitening
from unveil.types import ChannelVectors, Embedded, Role, Vectors

logger = logging.getLogger(__name__)

R = TypeVar("R", bound=str)


class EmbedFunction(Protocol):
    """Embeds a further source of a run, given its alignment and a label for progress.

    ``opener`` tells the workers of an engine how to open the source; without it this process embeds.
    """

    def __call__(
        self, source: Source, label: str, alignment: ImageAlignment, opener: SourceOpener | None = None
    ) -> EmbeddedSource:
        """The result of the source."""


class AuditEmbedder:
    """Embeds the roles of an audit through all channels.

    Several face models become one channel, whose cosine is a weighted mean. Weights and whitening are estimated on the
    synthetic set only. The registration moves real images by the offset of all of them from the synthetic set. Sources
    of precomputed embeddings need no model. With ``trust_store``, embeddings in the store count whoever made them.
    Raises SettingError, SourceError or ModelError for models and sources that do not fit together.
    """

    def __init__(
        self,
        config: ChannelConfig,
        sources: Mapping[R, Source],
        *,
        store: str | Path | None = None,
        trust_store: bool = False,
        workers: int = 0,
        progress: Progress | None = None,
        engine: Engine | None = None,
        sizes: PipelineSizes | None = None,
    ) -> None:
        self._store, self._workers, self._sizes = store, workers, sizes or PipelineSizes()
        self._store_key = StoreKey.own(trusts_others=trust_store)
        self._progress, self._engine = progress or Silent(), engine
        self._precomputed = {role: source for role, source in sources.items() if isinstance(source, EmbeddingSource)}
        if self._precomputed:
            config = replace(config, channels=(FACE,))
            if len(self._precomputed) == len(sources):
                config = replace(config, models=(), detector=None)
        if engine is not None and config.device == "auto":
            # Workers ask for a GPU only if the device is named. All machines must use the same device.
            config = replace(config, device="cpu")
        self.config = config
        if sources:
            copy_models = () if config.copy_model is None else (config.copy_model,)
            try_models((*config.models, *copy_models), config.detector)
        loaded = load_channels(config)
        self._faces, self._others, self._detector = loaded.faces, loaded.others, loaded.detector
        self.copy_channel = loaded.copy_channel
        if sources:
            # A run or a guard that is opened has the models of its audit, which were tested then.
            copies = [] if self.copy_channel is None else [self.copy_channel.model]
            for model in (*(channel.model for channel in self._faces), *copies):
                check_model(model)
        for fallback in dict.fromkeys(channel.model.fallback for channel in self._faces if channel.model.fallback):
            logger.warning("%s", fallback)
        self._weights: tuple[float, ...] = (1.0,)
        self.whitening: Whitening | None = None
        self.registration: Registration | None = None
        if self._precomputed:
            self._check_precomputed()

    def _check_precomputed(self) -> None:
        if len(self._faces) > 1:
            raise SettingError(
                "beside precomputed embeddings, images are embedded by one face model, got several; pass one --model"
            )
        spec = self._faces[0].model.spec if self._faces else None
        self._model_name = check_one_model(self._precomputed.values(), spec)
        logger.info("%s: precomputed embeddings of %s", ", ".join(self._precomputed), self._model_name)

    @property
    def dimensions(self) -> dict[str, int]:
        """The dimension of each channel's vectors. Several face models are one channel."""
        faces = [channel.dimension for channel in self._faces]
        precomputed = [source.vectors.shape[1] for source in self._precomputed.values()][:1]
        return {FACE: sum(faces or precomputed), **{channel.name: channel.dimension for channel in self._others}}

    @property
    def model_facts(self) -> tuple[dict[str, Any], ...]:
        """The description of each face model, and its weight."""
        if not self._faces:
            source = next(iter(self._precomputed.values()))
            unknown = dict.fromkeys(("trained_on", "licence", "alignment", "sha256"), "not known")
            model_id = source.model or UNKNOWN_MODEL
            known = {"name": self._model_name, "model_id": model_id, "dimension": source.vectors.shape[1]}
            return ({**known, **unknown, "weight": 1.0},)
        return tuple(
            {**asdict(channel.model.spec), "model_id": channel.model_id, "weight": weight}
            for channel, weight in zip(self._faces, self._weights, strict=True)
        )

    @property
    def runs_on(self) -> str:
        """The device that the face models run on."""
        return ", ".join(dict.fromkeys(channel.model.runs_on for channel in self._faces)) or "nothing to embed"

    @property
    def detector(self) -> dict[str, str]:
        """The name, the licence and the key of the detector."""
        return {"name": self._detector.name, "licence": self._detector.licence, "key": self._detector.key}

    @property
    def copy_model(self) -> dict[str, str] | None:
        """The name, the licence and the key of the copy-detection model, if there is one."""
        if self.copy_channel is None:
            return None
        spec = self.copy_channel.model.spec
        return {"name": spec.name, "licence": spec.licence, "key": self.copy_channel.key}

    def preprocessor(self, alignment: ImageAlignment) -> ImagePreprocessor:
        """How the images of a source with this alignment are prepared."""
        return ImagePreprocessor([*self._faces, *self._others], alignment, self._detector)

    def reader(self, source: Source, embedded: Embedded, alignment: ImageAlignment) -> ImageReader:
        """Reads the images of a source again, after it was embedded with this alignment."""
        workers = None if self._engine is None else ImageWorkers(self._engine, self.config)
        return ImageReader(source, embedded, self.preprocessor(alignment), workers)

    def embed_roles(
        self,
        sources: Mapping[Role, Source],
        run: RunDirectory,
        rng: np.random.Generator,
        *,
        aligned: Mapping[Role, Aligned] | None = None,
        exclude: Path | None = None,
        specs: Mapping[Role, SourceOpener] | None = None,
    ) -> dict[Role, EmbeddedSource]:
        """Embeds every role, synthetic first. The vectors are stored in the run.

        ``rng`` samples the pairs that decide the weights of several face models. ``aligned`` is the setting of each
        role (default: auto). ``exclude`` is a list of synthetic images to leave out. ``specs`` tell the workers of an
        engine how to open the sources; without them this machine embeds.
        """
        embedded: dict[Role, EmbeddedSource] = {}
        for role, source in sources.items():
            excluded: frozenset[str] = frozenset()
            if role == "synthetic" and exclude is not None:
                excluded = read_exclusions(exclude, source)
                logger.info("synthetic: %d of %d files are excluded", len(excluded), len(source.records))
            if isinstance(source, EmbeddingSource):
                self._progress.start(f"reading the vectors of {role}", 0, "")
                read = read_precomputed(source, _path(run, role, FACE, True), excluded)
                embedded[role] = replace(read, embedded=replace(read.embedded, model_id=self._model_name))
                continue
            alignment = resolve_alignment(source, (aligned or {}).get(role, "auto"), role)
            opener = None if specs is None else specs[role]
            embedded[role] = self._embed(source, role, alignment, run, exclude=excluded, opener=opener)
        if self._precomputed:
            # Only images have quality features, and sets are compared by the features that both have.
            return {role: replace(s, embedded=replace(s.embedded, quality=None)) for role, s in embedded.items()}
        real = [source.embedded for role, source in embedded.items() if role != "synthetic"]
        self._fit(embedded["synthetic"].embedded.distinct, real, rng)
        return {
            role: self._fuse_and_whiten(source, role, run, real=role != "synthetic")
            for role, source in embedded.items()
        }

    def temporary_embedder(self, run: RunDirectory) -> EmbedFunction:
        """A function that embeds a further source of real images with the same weights, whitening and registration.

        Its vectors are stored with the checkpoints, and are removed with them when the run is finished.
        """

        def embed(
            source: Source, label: str, alignment: ImageAlignment, opener: SourceOpener | None = None
        ) -> EmbeddedSource:
            embedded = self._embed(source, label, alignment, run, temporary=True, opener=opener)
            return self._fuse_and_whiten(embedded, label, run, real=True, temporary=True)

        return embed

    def restore(
        self,
        models: Sequence[Mapping[str, Any]],
        whitening: Whitening | None,
        *,
        detector: str | None,
        copy_model: str,
    ) -> None:
        """Restores the weights and the whitening of an earlier audit, whose `model_facts` are ``models``.

        ``detector`` is the key of its detector, None if nothing is detected, and ``copy_model`` that of its
        copy-detection model. Raises ModelError if a model or its description has changed since.
        """
        for channel, model in zip(self._faces, models, strict=True):
            if channel.model_id != model["model_id"]:
                raise _changed(f"the face model {channel.model.spec.name}")
        if detector not in (None, self._detector.key):
            raise _changed(f"the detector {self._detector.name}")
        if self.copy_channel in self._others and self.copy_channel is not None and self.copy_channel.key != copy_model:
            raise _changed("the copy-detection model")
        self._weights = tuple(float(model["weight"]) for model in models)
        self.whitening = whitening

    def embed_images(
        self, images: Sequence[Callable[[], FaceImage]], *, face_only: bool = False
    ) -> tuple[dict[str, Vectors], tuple[ShardRow, ...]]:
        """Embeds a few images in memory through all channels, or through the face channel only.

        Returns the unit vectors (n, D) float32 of each channel for the images that every channel embeds, and a row for
        each image.
        """
        others = [] if face_only else self._others
        rows, blocks = embed_images(images, [*self._faces, *others])
        n = len(self._faces)
        vectors = {FACE: concatenate_weighted(blocks[:n], self._weights) if n > 1 else blocks[0]}
        for channel, block in zip(others, blocks[n:], strict=True):
            whitening = self._whitening_of(channel.name)
            vectors[channel.name] = block if whitening is None else whitening.apply(block)
        return vectors, rows

    def _whitening_of(self, channel: str) -> Whitening | None:
        return self.whitening if channel == AppearanceChannel.name else None

    def _embed(
        self,
        source: Source,
        label: str,
        alignment: ImageAlignment,
        run: RunDirectory,
        *,
        temporary: bool = False,
        exclude: frozenset[str] = frozenset(),
        opener: SourceOpener | None = None,
    ) -> EmbeddedSource:
        """Every image through every channel. Vectors that need no fusion or whitening are stored in the run.

        The workers of the engine embed a source that they can open; any other is embedded here.
        """
        distribute = None
        if self._engine is not None and opener is not None:
            distribute = partial(self._distribute, self._engine, source, label, opener, alignment)
        names = [f"model.{i}" for i in range(len(self._faces))] if len(self._faces) > 1 else [FACE]
        names += [channel.name for channel in self._others]
        intermediate = {AppearanceChannel.name, *(name for name in names if name.startswith("model."))}
        return embed_source(
            source,
            self.preprocessor(alignment),
            open_storage(self._required_store, self._store_key),
            [_path(run, label, name, not temporary and name not in intermediate) for name in names],
            workers=self._workers,
            label=label,
            progress=self._progress,
            exclude=exclude,
            sizes=self._sizes,
            embed_elsewhere=distribute,
        )

    @property
    def _required_store(self) -> str:
        if self._store is None:
            raise ValueError("an AuditEmbedder without a store embeds no source")
        return str(self._store)

    def _distribute(
        self, engine: Engine, source: Source, label: str, opener: SourceOpener, alignment: ImageAlignment
    ) -> list[EmbeddedPartition]:
        """The partitions of a source, embedded by the workers of an engine."""
        input = WorkerInput.create(opener, self.config, self.preprocessor(alignment))
        gpus = 0.0 if self.config.device == "cpu" else 1.0
        store = absolute_place(self._required_store)
        return embed_distributed(
            *(engine, source, input, store, self._store_key, label, self._progress, gpus, self._sizes)
        )

    def _split(self, embedded: Embedded) -> tuple[list[Embedded], tuple[ChannelVectors, ...]]:
        """The vectors of each face model, and those of the other channels."""
        n = max(0, len(self._faces) - 1)
        others = [
            replace(embedded, vectors=v.vectors, model_id=v.model_id, recipe=v.recipe, views=())
            for v in embedded.views[:n]
        ]
        return [replace(embedded, views=()), *others], embedded.views[n:]

    def _fit(self, synthetic: Embedded, real: Sequence[Embedded], rng: np.random.Generator) -> None:
        """Estimates the weights of the face models, the whitening and the registration."""
        models, others = self._split(synthetic)
        if len(models) > 1:
            self._weights = model_weights(models, rng)
        for view in others:
            if view.channel == AppearanceChannel.name:
                self.whitening = fit_whitening(view.vectors)
                of_real = [each.through(view.channel).vectors for each in real]
                self.registration = fit_registration(of_real, view.vectors)
        if self.registration is not None:
            logger.info(
                "real images lie %.1f pixels off the synthetic ones; in the appearance channel they are %s",
                *(self.registration.displacement, self.registration.description),
            )

    def _fuse_and_whiten(
        self, source: EmbeddedSource, label: str, run: RunDirectory, *, real: bool, temporary: bool = False
    ) -> EmbeddedSource:
        registration = self.registration if real else None
        models, others = self._split(source.embedded)
        face = models[0]
        if len(models) > 1:
            names = [channel.model.spec.name for channel in self._faces]
            face = fuse(models, names, self._weights, _path(run, label, FACE, not temporary))
        views = []
        for view in others:
            whitening = self._whitening_of(view.channel)
            if whitening is not None:
                path = _path(run, label, f"{view.channel}.whitened", not temporary)
                view = _whiten(view, path, whitening, registration)
            views.append(view)
        return replace(source, embedded=replace(face, views=tuple(views)))


def _changed(model: str) -> ModelError:
    return ModelError(
        f"{model}: expected the file and the description of the audit, found others under this name. Put the earlier "
        "ones back, or audit again"
    )


def _whiten(
    view: ChannelVectors, path: Path, whitening: Whitening, registration: Registration | None
) -> ChannelVectors:
    n, dimension = view.vectors.shape
    blocks = (view.vectors[i : i + CHUNK] for i in range(0, n, CHUNK))
    if registration is not None:
        blocks = (registration.apply(block) for block in blocks)
    blocks = (whitening.apply(block) for block in blocks)
    model_id = hashlib.sha256(view.model_id.encode() + whitening.centre.tobytes() + whitening.rows.tobytes())
    vectors = write_vectors(blocks, n, dimension, path)
    return ChannelVectors(view.channel, vectors, model_id.hexdigest(), view.recipe)


def _path(run: RunDirectory, label: str, name: str, in_run: bool) -> Path:
    """Where the vectors of a source are stored: with the run, or with the checkpoints."""
    stem = label if name == FACE else f"{label}.{name}"
    return run.vectors(stem) if in_run else run.scratch(f"{stem}.npy")
