"""What channels have in common that are a network in a file."""

from __future__ import annotations

from pathlib import Path

from unveil.channels.base import Picture
from unveil.faces.models import ModelSpec
from unveil.faces.recogniser import Recogniser
from unveil.types import Vectors


class NetworkChannel:
    """A network and its description; the default face network without a file."""

    def __init__(self, model: Path | None) -> None:
        self._recogniser = Recogniser(model)
        self.spec: ModelSpec = self._recogniser.spec

    @property
    def dimension(self) -> int:
        return self.spec.dimension

    @property
    def model_id(self) -> str:
        return self.spec.model_id

    def embed(self, crops: Picture) -> Vectors:
        return self._recogniser.embed(crops)
