"""A copy-detection network: whether two pictures are one, whatever was done to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unveil.channels.base import Picture
from unveil.errors import ModelError
from unveil.faces.align import resize
from unveil.faces.recogniser import Recogniser
from unveil.types import Vectors


class CopyNetwork:
    """A network like SSCD (Pizzi et al. 2022, arXiv 2202.10261) in ONNX form, with a descriptor beside it."""

    def __init__(self, model: Path) -> None:
        self._recogniser = Recogniser(model)
        self.spec = self._recogniser.spec
        if self.spec.alignment != "whole":
            raise ModelError(
                f'--copy-model {model}: its descriptor says alignment = "{self.spec.alignment}"; a copy-detection '
                'network looks at the whole picture: alignment = "whole"'
            )

    def embed(self, pictures: list[Picture]) -> Vectors:
        """Unit vectors (N, D) of whole pictures (H, W, 3), each stretched to the network's square."""
        size = self.spec.input_size
        return self._recogniser.embed(np.stack([resize(picture, size) for picture in pictures]))
