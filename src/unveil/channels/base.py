"""The base class of all channels, and what a channel is opened with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from unveil.channels.face_image import FaceImage
from unveil.choices import Device
from unveil.faces.align import ImageArray as ImageArray
from unveil.types import Vectors


@dataclass(frozen=True)
class ChannelConfig:
    """The models, the detector and the channels of an audit, by name. It can be sent to a worker.

    ``models`` are the face models. None in it is the default model; without an entry no face is embedded. A
    ``copy_model`` is opened even if copy is not a channel, because the kinds of leak are classified with it.
    """

    models: tuple[str | None, ...] = (None,)
    detector: str | None = None  # None: dlib's detector
    copy_model: str | None = None
    channels: tuple[str, ...] = ("face",)
    device: Device = "cpu"

    @property
    def absolute(self) -> ChannelConfig:
        """The same configuration with absolute paths, for a process that runs in another folder."""
        return replace(
            self,
            models=tuple(_absolute(model) for model in self.models),
            detector=_absolute(self.detector),
            copy_model=_absolute(self.copy_model),
        )


def _absolute(name: str | None) -> str | None:
    """The absolute path of a file; any other name unchanged."""
    return str(Path(name).absolute()) if name is not None and Path(name).is_file() else name


class Channel(ABC):
    """One aspect in which images are compared, such as the face or the appearance.

    A channel turns each image into a unit vector. The cosine of two vectors is the similarity of the images. Storage,
    comparison, statistics and the report treat all channels alike.

    To add a channel:

    1. Create a file for it in ``unveil/channels/`` with a subclass of `Channel`.
    2. Set ``name``, ``dimension`` and ``model_id``; implement `crop` and `embed`.
    3. Add one line to ``CHANNELS`` in ``unveil/choices.py``: the name, and the module and class.

    Override `open` if the channel needs a model, and `prepare` if several images at once take less time.

    ``unveil audit --channels face,NAME`` then compares it. The methods may be called from several threads at a time.
    """

    name: ClassVar[str]
    """The name in ``--channels`` and in the report."""

    dimension: int
    """The number D of values in a vector."""

    model_id: str
    """A hash of everything in the channel that decides a vector. Change it when the vectors change."""

    batch: int = 32
    """The number of crops for a call of `embed`."""

    runtime: str = ""
    """The library that computes the vectors with its version and device, if it is not OpenCV or NumPy."""

    @classmethod
    def open(cls, config: ChannelConfig) -> Channel:
        """Opens the channel. Raises ModelError if its model is not available."""
        return cls()

    def prepare(self, images: Sequence[FaceImage]) -> None:
        """Does for some images at once what `crop` would do for each, where that is faster. Nothing by default."""
        return

    @abstractmethod
    def crop(self, image: FaceImage) -> ImageArray:
        """The part of an image to embed: (S, S, 3) uint8 RGB, of the same size S for all images.

        Raises ImageError if the image has no such part, for example if no face is detected.
        """

    @abstractmethod
    def embed(self, crops: ImageArray) -> Vectors:
        """Unit vectors (N, D) float32 of crops (N, S, S, 3) uint8 RGB. A row of zeros marks a crop without a vector."""
