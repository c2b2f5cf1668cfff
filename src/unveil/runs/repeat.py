"""A finished run that answers for a repeated audit, and one that another audit replaces."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from unveil.config.paths import check_paths
from unveil.config.settings import Settings
from unveil.errors import InputError, SettingError, StoreError
from unveil.images.readers.shards import expand_braces
from unveil.io.atomic import is_temporary
from unveil.io.folders import exclusive
from unveil.io.remote import is_address
from unveil.io.run_directory import (
    AUDIT,
    MANIFEST,
    REDACTED_REPORT,
    VERDICTS,
    RunKind,
    other_files,
    read_manifest,
    remove_run,
)
from unveil.io.trust import is_own
from unveil.io.walk import real_path
from unveil.results import AuditResult
from unveil.runs.inputs import InputSettings, named_files, same_inputs
from unveil.runs.parts import PARTS, checksums
from unveil.runs.recorded import RecordedRun
from unveil.runs.versions import software_versions

logger = logging.getLogger(__name__)

CLEANING = "clean/clean.json"
R = TypeVar("R", bound=str)


def repeated(settings: Settings, *, redact: bool, verify: bool) -> AuditResult | None:
    """As `finished_result`, for settings that are not checked yet, and with nobody else at work on the run."""
    check_paths(settings)
    with exclusive(settings.out):
        return finished_result(settings, redact=redact, verify=verify)


def finished_result(settings: Settings, *, redact: bool, verify: bool) -> AuditResult | None:
    """The result of the finished audit in ``settings.out``, if repeating that audit would give the same.

    Settings, software versions and inputs must be the same, and the run this user's own. Inputs are the same if sizes
    and times of their files are; if they differ, or with ``verify``, the files are read, and with ``verify`` the files
    of the run too. None if something differs, or if reviewers have decided on pairs since.
    """
    run = settings.out
    manifest = read_manifest(run / MANIFEST)
    if settings.remote_run is not None or manifest is None or manifest.get("status") != "finished":
        return None
    if manifest.get("settings") != settings.facts() or manifest.get("versions") != software_versions():
        return None
    if not is_own(manifest) or (redact and not (run / REDACTED_REPORT).exists()) or _was_reviewed_since(run):
        return None
    try:
        if verify and checksums(run) != manifest.get(PARTS):
            logger.warning("%s: a file of the finished audit has changed; auditing again", run)
            return None
        if not same_inputs(settings, manifest, read=verify):
            logger.info("%s: the inputs have changed since this audit; auditing again", run)
            return None
        result = RecordedRun(run).result
    except (OSError, InputError, StoreError):
        return None
    logger.info("%s: the inputs have not changed since this audit of %s", run, manifest.get("finished", "before"))
    return result


def check_what_followed(settings: Settings) -> None:
    """Raises SettingError if reviewers decided on other images than those that are audited now.

    Verdicts name images by their ids, so they would count for any image of the same name. A warning names a cleaning.
    """
    run = settings.out
    if (run / CLEANING).exists():
        logger.warning("%s: the cleaning in %s is of the earlier audit. Clean again after this one", run, CLEANING)
    if not (run / VERDICTS).exists():
        return
    manifest = read_manifest(run / MANIFEST) or {}
    if manifest.get("status") == "finished" and is_own(manifest) and same_inputs(settings, manifest):
        return
    raise SettingError(
        f"-o: expected no verdicts of reviewers on other images in {run}, found {VERDICTS}. Move it away, or name "
        "another folder with -o"
    )


class Replacing(InputSettings[R], Protocol[R]):
    """The settings of an audit or an overlap that takes the place of another."""

    @property
    def out(self) -> Path:
        """The folder of the run."""

    @property
    def store_place(self) -> str:
        """Where embeddings are stored."""


def replace_run(settings: Replacing[R], kind: RunKind = AUDIT) -> None:
    """Removes the run in ``settings.out``, so that one of its kind with other settings can take its place.

    Raises SettingError for a folder without such a run, for one that also holds verdicts of reviewers or other files,
    and if the new one reads a file or uses a store inside it.
    """
    run = settings.out
    if not run.exists() or all(map(is_temporary, run.iterdir())):
        return
    if read_manifest(run / MANIFEST, kind) is None:
        raise SettingError(
            f"--overwrite: expected an {kind.name} in {run}, found other files; name another folder with -o"
        )
    others = other_files(run, kind)
    if others:
        found = others[0]
        if kind is AUDIT:  # the only one that reviewers decide on
            verdicts = next((name for name in others if Path(name).name == VERDICTS), None)
            what = "a file that is no part of an audit" if verdicts is None else "verdicts of reviewers"
            found = f"{what} ({verdicts or found})"
        raise SettingError(
            f"--overwrite: expected nothing but an {kind.name} in {run}, found {found}. Move it away, or name another "
            "folder with -o"
        )
    needed = next((place for place in _named_places(settings) if real_path(place).is_relative_to(real_path(run))), None)
    if needed is not None:
        raise SettingError(
            f"--overwrite: expected an {kind.name} that needs nothing in {run}, found {needed}, which would be removed "
            "before it is used. Move it away, or name another folder with -o"
        )
    remove_run(run, kind)


def _named_places(settings: Replacing[R]) -> Iterator[str]:
    """The files and folders of this machine that a run reads, and its store."""
    places = [location.target for location in settings.locations.values()]
    for place in (*places, *map(str, named_files(settings)), settings.store_place):
        if not is_address(place):
            yield from expand_braces(place)


def _was_reviewed_since(run: Path) -> bool:
    verdicts, audit = run / VERDICTS, run / "audit.json"
    return verdicts.exists() and (not audit.exists() or verdicts.stat().st_mtime_ns > audit.stat().st_mtime_ns)
