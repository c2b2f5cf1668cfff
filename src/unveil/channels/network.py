"""What channels have in common that are a network in a file."""

from __future__ import annotations

from pathlib import Path

from unveil.channels.base import ImageArray
from unveil.choices import Device
from unveil.faces.embedding_model import EmbeddingModel
from unveil.faces.models import ModelSpec
from unveil.types import Vectors


class NetworkChannel:
    """A network and its description; the default face network without a file."""

    def __init__(self, model: str | Path | None, device: Device = "cpu") -> None:
        self._recogniser = EmbeddingModel(model, device=device)
        self.spec: ModelSpec = self._recogniser.spec

    @property
    def told(self) -> str:
        """That the network does not run where it was asked to, and why; empty when it does."""
        return self._recogniser.network.told

    @property
    def runs_on(self) -> str:
        return self._recogniser.network.runs_on

    @property
    def batch(self) -> int:
        return self._recogniser.batch

    @property
    def dimension(self) -> int:
        return self.spec.dimension

    @property
    def model_id(self) -> str:
        return self.spec.model_id

    def embed(self, crops: ImageArray) -> Vectors:
        return self._recogniser.embed(crops)
