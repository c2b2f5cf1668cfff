"""What can go wrong, as one tree.

UnveilError
├── PictureError         one picture cannot be used: counted as a reject, never ends an audit
├── InputError           what the user gave cannot be used (exit code 2)
│   ├── SourceError      a folder, list or archive of pictures
│   ├── ModelError       network weights or their description
│   ├── VectorError      embeddings of the wrong shape, type or norm
│   └── SettingError     a flag or a settings file
├── EngineError          the machines that work: none there, not fit, or ending again and again
└── StoreError           files of ours that are damaged, out of reach or belong to another run

Every message says what was expected, what came, and what to do next.
"""

from __future__ import annotations

from typing import Literal

# Where a picture can fall out of an audit.
Stage = Literal["read", "decode", "detect", "embed"]


class UnveilError(Exception):
    """Base of every error that unveil raises on purpose."""


class ImageError(UnveilError):
    """One picture cannot be used: the stage where it fell out, a reason that is counted, a detail that is shown."""

    def __init__(self, stage: Stage, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.stage, self.reason, self.detail = stage, reason, detail


class InputError(UnveilError):
    """What the user gave cannot be used."""


class SourceError(InputError):
    """A source of pictures cannot be read as a whole."""


class ModelError(InputError):
    """Network weights or their description cannot be used."""


class VectorError(InputError):
    """Embeddings have the wrong shape or type, or are not finite."""


class SettingError(InputError):
    """A flag or a settings file has a value that cannot be used."""


class EngineError(UnveilError):
    """The machines that should work are not there, do not fit, or end again and again."""


class StoreError(UnveilError):
    """A file written by unveil is damaged, out of reach, or belongs to something else."""
