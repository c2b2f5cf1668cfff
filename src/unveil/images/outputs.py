"""Where nothing may be written: into images that are read, and over files that are no earlier output."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from unveil.errors import SettingError
from unveil.images.candidates import candidates
from unveil.images.label_rule import LabelRule
from unveil.images.location import Location
from unveil.images.readers.file_list import ListSource
from unveil.images.readers.shards import expand_braces
from unveil.io.output_file import OutputKind, check_log_file, check_output_file
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


def check_output(option: str, place: str | Path, kind: OutputKind | None, images: Mapping[str, Location]) -> None:
    """Raises SettingError for a file to write that lies among images, by what they are called, or that would be lost.

    What a command writes as one file passes this check before the command does anything else.
    """
    for what, location in images.items():
        check_outside(option, place, location, what)
    check_output_file(option, place, kind)


def check_log(option: str, place: str, kind: OutputKind, images: Mapping[str, Location]) -> None:
    """The same for a file that is appended to; ``-`` is standard error."""
    if place == "-":
        return
    for what, location in images.items():
        check_outside(option, place, location, what)
    check_log_file(option, place, kind)


def _listed(images: Location) -> set[str]:
    """The paths in a list, relative to its folder; none for anything but a list."""
    path = images.path
    if not path.is_file() or (images.form is None and all(one.form != "list" for one in candidates(path))):
        return set()
    if images.form not in (None, "list"):
        return set()
    source = ListSource(path, LabelRule("none"), images.options)
    return {os.path.normpath(source.path_of(record)) for record in source.records}
