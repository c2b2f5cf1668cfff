"""What somebody else might see in the file of an image that its decoded pixels do not show."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from unveil.images.unread import shown_names


class Remark(StrEnum):
    """What is remarkable about the file of an image that was read."""

    IMAGES_BEHIND = "images behind"
    BYTES_BEHIND = "bytes behind"
    TURNED = "turned"
    NOT_TURNED = "not turned"
    TRANSPARENT = "transparent"
    EXTRA_CHANNEL = "extra channel"
    GAMMA = "gamma"
    COLOURS = "colours"

    def note(self, ids: Sequence[str]) -> str:
        """The note on the images (N,) of which this holds."""
        return f"{_NOTES[self].format(len(ids))}: {shown_names(ids)}"


_NOTES = {
    Remark.IMAGES_BEHIND: "not read: smaller images behind the first in {:,} files, as telephones add them",
    Remark.BYTES_BEHIND: "not read: bytes behind the image in {:,} files",
    Remark.TURNED: "turned as their EXIF data ask: {:,} files, which programs that ignore EXIF see as they are stored",
    Remark.NOT_TURNED: "an orientation that viewers ignore, as in XMP, is not applied to {:,} files",
    Remark.TRANSPARENT: "transparency is dropped from {:,} files, of which viewers show other pixels",
    Remark.EXTRA_CHANNEL: "not read: a channel beside the colours in {:,} files",
    Remark.GAMMA: "the brightness that {:,} files ask for is not applied, so viewers show other pixels",
    Remark.COLOURS: "the colours of HDR or of an unusual profile, which {:,} files ask for, are not applied, so "
    "viewers show other pixels",
}
