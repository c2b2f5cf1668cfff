"""All errors that unveil raises on purpose, as one tree.

UnveilError
├── ImageError           one image cannot be used; it is counted as a reject and never ends an audit
├── InputError           the user's input cannot be used (exit code 2)
│   ├── SourceError      a folder, list or archive of images
│   ├── ModelError       model weights or their description
│   ├── VectorError      embeddings of the wrong shape, type or norm
│   └── SettingError     an option or a settings file
├── EngineError          the cluster is missing, does not fit, or its workers end again and again
└── StoreError           a file written by unveil is damaged, out of reach or belongs to another run
    └── DiskFullError    there is no space left (exit code 4, as for EngineError)

Every message states what was expected, what was found and what to do. Every error can be pickled, since workers of a
cluster send them back.
"""

from __future__ import annotations

from typing import Literal

# Stages at which an image can be rejected.
Stage = Literal["read", "decode", "detect", "embed"]


class UnveilError(Exception):
    """Base class of every error that unveil raises on purpose."""


class ImageError(UnveilError):
    """One image cannot be used.

    ``stage`` is where it was rejected, ``reason`` is counted in reports, ``detail`` is shown beside it.
    """

    def __init__(self, stage: Stage, reason: str, detail: str = "") -> None:
        # The arguments are what unpickling passes to this constructor.
        super().__init__(stage, reason, detail)
        self.stage, self.reason, self.detail = stage, reason, detail

    def copy(self) -> ImageError:
        """The same error without its traceback, whose frames hold the pixels that were being decoded."""
        return ImageError(self.stage, self.reason, self.detail)

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class InputError(UnveilError):
    """The user's input cannot be used."""


class SourceError(InputError):
    """A source of images cannot be read as a whole."""


class ModelError(InputError):
    """Model weights or their description cannot be used."""


class VectorError(InputError):
    """Embeddings have the wrong shape or type, or are not finite."""


class SettingError(InputError):
    """An option or a settings file has an invalid value."""


class EngineError(UnveilError):
    """The cluster is missing, does not fit, or its workers end again and again."""


class StoreError(UnveilError):
    """A file written by unveil is damaged, out of reach, or belongs to another run."""


class DiskFullError(StoreError):
    """There is no space left to write to."""
