"""Checks of settings that need the file system. Only a new audit runs them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from unveil.config.settings import LISTS, SETTINGS, STORE, Settings
from unveil.errors import SettingError
from unveil.images.location import Location
from unveil.images.outputs import check_outside
from unveil.io.remote import is_address


def check_lists(settings: Settings) -> None:
    """Raises SettingError if a file that a setting names is none, so that no run begins without it."""
    for name in LISTS:
        file: Path | None = getattr(settings, name)
        if file is not None and not file.is_file():
            raise SettingError(f"{SETTINGS[name].option}: expected a text file, found none at {file}. Correct the path")


def check_paths(settings: Settings) -> None:
    """Raises SettingError if a list cannot be read, and if the run or the store lies inside a folder of images: its
    files would be read as images."""
    check_lists(settings)
    check_places(settings.out, settings.store_place, {f"{role} images": at for role, at in settings.locations.items()})


def check_places(out: Path, store: str, images: Mapping[str, Location]) -> None:
    """Raises SettingError if the run or the store is a link to nothing or lies inside a folder of images.

    A store beside the run may come with it from somebody else, so it is no link either. ``images`` are the places of
    images by what they are called.
    """
    if not is_address(store) and Path(store) == out.absolute().parent / STORE and Path(store).is_symlink():
        raise SettingError(
            f"--store: expected a folder beside the run, found a link at {store}, which is not followed. Name the "
            "folder that it leads to"
        )
    for option, place in (("-o", str(out)), ("--store", store)):
        if not is_address(place) and Path(place).is_symlink() and not Path(place).exists():
            raise SettingError(f"{option}: expected a folder, found a link to nothing at {place}. Name another folder")
    for name, source in images.items():
        for option, place in (("-o", str(out)), ("--store", store)):
            check_outside(option, place, source, name)
