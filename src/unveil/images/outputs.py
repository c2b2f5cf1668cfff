"""Where nothing may be written: into images that are read."""

from __future__ import annotations

import os
from pathlib import Path

from unveil.errors import SettingError
from unveil.images.candidates import candidates
from unveil.images.label_rule import LabelRule
from unveil.images.location import Location
from unveil.images.readers.file_list import ListSource
from unveil.images.readers.shards import expand_braces
from unveil.io.remote import is_address
from unveil.io.walk import real_path


def check_outside(option: str, place: str | Path, images: Location, what: str = "images") -> None:
    """Raises SettingError if ``place`` lies in a folder of images, or is a file that is read.

    What is written into a folder of images would be read as an image or as labels. A list names its files: only they
    and the list are protected. ``what`` describes the images in the message. Raises SourceError for a damaged list.
    """
    if images.remote or is_address(place):
        return
    out, path = real_path(place), real_path(images.path)
    if path.is_dir() and out.is_relative_to(path):
        raise SettingError(
            f"{option}: expected a place outside the {what} ({images}), found {place} inside them. Name another, or "
            "what is written there would be read with the images"
        )
    read = [path] if path.exists() else [real_path(file) for file in expand_braces(images.target)]
    if out in read or os.path.relpath(out, path.parent) in _listed(images):
        raise SettingError(f"{option}: expected a place outside the {what} ({images}), found {place}, which is read")


def _listed(images: Location) -> set[str]:
    """The paths in a list, relative to its folder; none for anything but a list."""
    path = images.path
    if not path.is_file() or (images.form is None and all(one.form != "list" for one in candidates(path))):
        return set()
    if images.form not in (None, "list"):
        return set()
    source = ListSource(path, LabelRule("none"), images.options)
    return {os.path.normpath(source.path_of(record)) for record in source.records}
