"""Checks of settings that need the file system. Only a new audit runs them."""

from __future__ import annotations

from pathlib import Path

from unveil.choices import ROLES
from unveil.config.settings import LISTS, SETTINGS, Settings
from unveil.errors import SettingError
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
    for option, place in (("-o", str(settings.out)), ("--store", settings.store_place)):
        if not is_address(place) and Path(place).is_symlink() and not Path(place).exists():
            raise SettingError(f"{option}: expected a folder, found a link to nothing at {place}. Name another folder")
    for role in ROLES:
        source = settings.source(role)
        for option, place in (("-o", str(settings.out)), ("--store", settings.store_place)):
            if source is not None:
                check_outside(option, place, source, f"{role} images")
