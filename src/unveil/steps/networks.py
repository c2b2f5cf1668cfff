"""The face networks of an audit: every role through each of them, and several as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unveil.channels import FaceChannel
from unveil.channels.alignment import Alignment
from unveil.config import Settings
from unveil.images import Source
from unveil.progress import Progress
from unveil.run import RunDirectory
from unveil.steps.embed import EmbeddedSource, Embedder, embed_source, told_alignment
from unveil.steps.fuse import fuse, network_weights
from unveil.types import Role


class Networks:
    """One network, or several whose cosines count as a weighted mean. Weights come from the synthetic set."""

    def __init__(self, channels: Sequence[FaceChannel], settings: Settings, progress: Progress) -> None:
        self._channels, self._settings, self._progress = channels, settings, progress
        self._weights: tuple[float, ...] = (1.0,)

    @property
    def facts(self) -> tuple[dict[str, Any], ...]:
        """What is known of each network, and its weight."""
        return tuple(
            {**asdict(channel.spec), "model_id": channel.model_id, "weight": weight}
            for channel, weight in zip(self._channels, self._weights, strict=True)
        )

    def embed_roles(self, sources: dict[Role, Source], run: RunDirectory) -> dict[Role, EmbeddedSource]:
        """Every role embedded, synthetic first."""
        embedded: dict[Role, list[EmbeddedSource]] = {}
        for role, source in sources.items():
            alignment = told_alignment(source, self._settings.aligned.get(role, "auto"), role, self._progress)
            embedded[role] = self._each(source, role, alignment, run)
        if len(self._channels) > 1:
            synthetic = [s.embedded for s in embedded["synthetic"]]
            self._weights = network_weights(synthetic, self._settings.random("networks"))
        return {role: self._fused(each, run.vectors(role)) for role, each in embedded.items()}

    def embedder(self, run: RunDirectory) -> Embedder:
        """The same for a source that comes later; its vectors lie with the checkpoints and go with them."""

        def embed(source: Source, label: str, alignment: Alignment) -> EmbeddedSource:
            return self._fused(self._each(source, label, alignment, run, scratch=True), run.scratch(f"{label}.npy"))

        return embed

    def _each(
        self, source: Source, label: str, alignment: Alignment, run: RunDirectory, *, scratch: bool = False
    ) -> list[EmbeddedSource]:
        """One source through every network."""

        def path(i: int) -> Path:
            name = label if len(self._channels) == 1 else f"{label}.{i}"
            return run.scratch(f"{name}.npy") if scratch or len(self._channels) > 1 else run.vectors(name)

        return [
            embed_source(
                *(source, channel, self._settings.store_folder, path(i), alignment),
                workers=self._settings.workers,
                label=label if len(self._channels) == 1 else f"{label} by {channel.spec.name}",
                progress=self._progress,
            )
            for i, channel in enumerate(self._channels)
        ]

    def _fused(self, each: list[EmbeddedSource], path: Path) -> EmbeddedSource:
        if len(each) == 1:
            return each[0]
        return fuse(each, [channel.spec.name for channel in self._channels], self._weights, path)
