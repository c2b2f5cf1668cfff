"""What an audit looks through: every role through every channel, and several face networks as one."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from unveil.channels import AppearanceChannel, FaceImage
from unveil.channels.alignment import ImageAlignment
from unveil.channels.loading import ChannelConfig
from unveil.config.settings import Settings
from unveil.embedding.distributed import WorkerInput, embed_distributed
from unveil.embedding.embed import EmbeddedSource, Embedder, embed_source, read_exclusions, resolve_alignment
from unveil.embedding.fusion import fuse, model_weights, side_by_side
from unveil.embedding.pipeline import ImagePreprocessor, Partition, embed_images
from unveil.embedding.precomputed import UNKNOWN, check_one_model, take_precomputed
from unveil.embedding.shards import ShardRow, assemble
from unveil.engine import Engine
from unveil.errors import ModelError, SettingError
from unveil.images import EmbeddingSource, Source
from unveil.io.remote import absolute_place
from unveil.io.run_directory import RunDirectory
from unveil.io.storage import open_storage
from unveil.progress import Progress
from unveil.stats.whitening import CHUNK, Whitening, fit_whitening
from unveil.types import ChannelVectors, Embedded, Role, Vectors

logger = logging.getLogger(__name__)


class AuditEmbedder:
    """The face networks, whose cosines count as a weighted mean, and the further channels of an audit.

    Whatever is learnt, weights and whitening, is learnt on the synthetic set.
    """

    def __init__(
        self, settings: Settings, sources: dict[Role, Source], progress: Progress, engine: Engine | None = None
    ) -> None:
        self._settings, self._progress, self._engine = settings, progress, engine
        self._given = {role: source for role, source in sources.items() if isinstance(source, EmbeddingSource)}
        # Where all is embedded already there is nothing to do for a network.
        models = () if self._given and len(self._given) == len(sources) else settings.model or (None,)
        self.config = ChannelConfig(
            models,
            settings.detector if models else None,
            settings.copy_model,
            () if self._given else settings.channels[1:],
            settings.device,
        )
        opened = self.config.open()
        self._networks, self._further, self._detector = opened.networks, opened.further, opened.detector
        self.copy_channel = opened.copy_channel
        for told in dict.fromkeys(channel.told for channel in self._networks if channel.told):
            logger.warning(told)
        self._weights: tuple[float, ...] = (1.0,)
        self.whitening: Whitening | None = None
        if self._given:
            self._check_given()

    def _check_given(self) -> None:
        """Given embeddings have to be of the one network; they show nothing else of a picture."""
        if len(self._networks) > 1:
            raise SettingError("beside embeddings that are given, pictures are embedded by one network: one --model")
        embeds = None
        if self._networks:
            (network,) = self._networks
            embeds = (network.spec.name, network.model_id, network.dimension)
        self._network = check_one_model(self._given.values(), embeds)
        logger.info(f"{', '.join(self._given)}: embeddings instead of pictures, of {self._network}")

    @property
    def dimensions(self) -> dict[str, int]:
        """The dimension of each channel's vectors; several face networks are one channel."""
        networks = [network.dimension for network in self._networks]
        given = [source.vectors.shape[1] for source in self._given.values()][:1]
        return {"face": sum(networks or given), **{channel.name: channel.dimension for channel in self._further}}

    @property
    def model_facts(self) -> tuple[dict[str, Any], ...]:
        """What is known of each network, and its weight."""
        if not self._networks:
            source = next(iter(self._given.values()))
            unknown = {
                "trained_on": "not known",
                "licence": "not known",
                "alignment": "not known",
                "sha256": "not known",
            }
            told = {"name": self._network, "model_id": source.model or UNKNOWN, "dimension": source.vectors.shape[1]}
            return ({**told, **unknown, "weight": 1.0},)
        return tuple(
            {**asdict(channel.spec), "model_id": channel.model_id, "weight": weight}
            for channel, weight in zip(self._networks, self._weights, strict=True)
        )

    @property
    def runs_on(self) -> str:
        """The device that the networks run on."""
        return ", ".join(dict.fromkeys(channel.runs_on for channel in self._networks)) or "nothing to embed"

    @property
    def detector(self) -> dict[str, str]:
        """What is known of the detector."""
        return {"name": self._detector.name, "licence": self._detector.licence, "key": self._detector.key}

    def preprocessor(self, alignment: ImageAlignment) -> ImagePreprocessor:
        """How the pictures of a source are looked at, whose aligned crops are known."""
        return ImagePreprocessor([*self._networks, *self._further], alignment, self._detector)

    def embed_roles(self, sources: dict[Role, Source], run: RunDirectory) -> dict[Role, EmbeddedSource]:
        """Every role embedded, synthetic first."""
        embedded: dict[Role, EmbeddedSource] = {}
        left_out = self._settings.exclude
        for role, source in sources.items():
            without: frozenset[str] = frozenset()
            if role == "synthetic" and left_out is not None:
                without = read_exclusions(left_out, source)
                logger.info(f"synthetic: {len(without)} of {len(source.records)} files are left out, as told")
            if isinstance(source, EmbeddingSource):
                taken = take_precomputed(source, _path(run, role, "face", True), without)
                embedded[role] = replace(taken, embedded=replace(taken.embedded, model_id=self._network))
                continue
            alignment = resolve_alignment(source, self._settings.aligned.get(role, "auto"), role, self._progress)
            spread = None if self._engine is None else partial(self._spread, self._engine, source, role, alignment)
            embedded[role] = self._embed(source, role, alignment, run, without=without, spread=spread)
        if self._given:
            # Only pictures have traits, and sides are compared in what both have.
            return {role: replace(s, embedded=replace(s.embedded, quality=None)) for role, s in embedded.items()}
        self._learn(embedded["synthetic"].embedded.distinct)
        return {role: self._finish(source, role, run) for role, source in embedded.items()}

    def temporary_embedder(self, run: RunDirectory) -> Embedder:
        """The same for a source that comes later; its vectors lie with the checkpoints and go with them."""

        def embed(source: Source, label: str, alignment: ImageAlignment) -> EmbeddedSource:
            return self._finish(self._embed(source, label, alignment, run, keep=False), label, run, keep=False)

        return embed

    def restore(self, models: Sequence[Mapping[str, Any]], whitening: Whitening | None) -> None:
        """Takes up what an audit had learnt of the same networks; ModelError when one is another by now."""
        for channel, model in zip(self._networks, models, strict=True):
            if channel.model_id != model["model_id"]:
                raise ModelError(
                    f"{channel.spec.name}: the audit was made with other weights than those found under this name now; "
                    "run the audit again"
                )
        self._weights = tuple(float(model["weight"]) for model in models)
        self.whitening = whitening

    def embed_images(
        self, shots: Sequence[Callable[[], FaceImage]], *, face_only: bool = False
    ) -> tuple[dict[str, Vectors], tuple[ShardRow, ...]]:
        """Some pictures at once, in memory: the unit vectors (n, D) of each channel, or of the face alone, for those
        that every one of them embeds; and what became of each picture."""
        further = [] if face_only else self._further
        rows, blocks = embed_images(shots, [*self._networks, *further])
        n = len(self._networks)
        seen = {"face": side_by_side(blocks[:n], self._weights) if n > 1 else blocks[0]}
        for channel, block in zip(further, blocks[n:], strict=True):
            whitens = channel.name == AppearanceChannel.name and self.whitening is not None
            seen[channel.name] = self.whitening.apply(block) if whitens and self.whitening is not None else block
        return seen, rows

    def _embed(
        self,
        source: Source,
        label: str,
        alignment: ImageAlignment,
        run: RunDirectory,
        *,
        keep: bool = True,
        without: frozenset[str] = frozenset(),
        spread: Callable[[], list[Partition]] | None = None,
    ) -> EmbeddedSource:
        """Every picture through every channel. What is final already goes where it stays."""
        names = [f"network.{i}" for i in range(len(self._networks))] if len(self._networks) > 1 else ["face"]
        names += [channel.name for channel in self._further]
        final = {"face", "copy"} if keep else set()
        return embed_source(
            source,
            self.preprocessor(alignment),
            open_storage(self._settings.store_place),
            [_path(run, label, name, name in final) for name in names],
            workers=self._settings.workers,
            label=label,
            progress=self._progress,
            without=without,
            spread=spread,
        )

    def _spread(self, engine: Engine, source: Source, role: Role, alignment: ImageAlignment) -> list[Partition]:
        """The partitions of a role, embedded by the workers of an engine."""
        settings, way = self._settings, self.preprocessor(alignment)
        location = settings.source(role)
        if location is None:
            raise ValueError(f"{role} has no place")
        given = WorkerInput(
            location.absolute,
            settings.labels.get(role),
            settings.follow_links,
            self.config.absolute,
            alignment,
            tuple(way.recipe(channel) for channel in way.channels),
        )
        gpus = 0.0 if settings.device in ("auto", "cpu") else 1.0
        return embed_distributed(
            engine, source, given, absolute_place(settings.store_place), role, self._progress, gpus
        )

    def _parts(self, embedded: Embedded) -> tuple[list[Embedded], tuple[ChannelVectors, ...]]:
        """The networks one by one, and the further channels."""
        n = max(0, len(self._networks) - 1)
        others = [replace(embedded, vectors=v.vectors, model_id=v.model_id, views=()) for v in embedded.views[:n]]
        return [replace(embedded, views=()), *others], embedded.views[n:]

    def _learn(self, synthetic: Embedded) -> None:
        networks, further = self._parts(synthetic)
        if len(networks) > 1:
            self._weights = model_weights(networks, self._settings.random("networks"))
        for view in further:
            if view.channel == AppearanceChannel.name:
                self.whitening = fit_whitening(view.vectors)

    def _finish(self, source: EmbeddedSource, label: str, run: RunDirectory, *, keep: bool = True) -> EmbeddedSource:
        networks, further = self._parts(source.embedded)
        face = networks[0]
        if len(networks) > 1:
            names = [channel.spec.name for channel in self._networks]
            face = fuse(networks, names, self._weights, _path(run, label, "face", keep))
        views = tuple(
            self._whitened(view, _path(run, label, "appearance.whitened", keep), self.whitening)
            if view.channel == AppearanceChannel.name and self.whitening is not None
            else view
            for view in further
        )
        return replace(source, embedded=replace(face, views=views))

    @staticmethod
    def _whitened(view: ChannelVectors, path: Path, whitening: Whitening) -> ChannelVectors:
        n, dimension = view.vectors.shape
        blocks = (whitening.apply(view.vectors[i : i + CHUNK]) for i in range(0, n, CHUNK))
        seal = hashlib.sha256(view.model_id.encode() + whitening.centre.tobytes() + whitening.rows.tobytes())
        return ChannelVectors(view.channel, assemble(blocks, n, dimension, path), seal.hexdigest())


def _path(run: RunDirectory, label: str, name: str, keep: bool) -> Path:
    """Where the vectors of a source lie: with the run, or with the checkpoints."""
    stem = label if name == "face" else f"{label}.{name}"
    return run.vectors(stem) if keep else run.scratch(f"{stem}.npy")
