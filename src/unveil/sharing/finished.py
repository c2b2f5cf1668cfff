"""A finished overlap: opened for reading, as the answer to a repeated one, and replaced by another."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, TypedDict

from unveil.choices import SET_NAMES, SetName
from unveil.config.overlap import OverlapSettings
from unveil.embedding.embed import content_sha256
from unveil.embedding.precomputed import vectors_sha256
from unveil.errors import InputError, SourceError, StoreError
from unveil.images import EmbeddingSource, LabelRule, Source, open_source
from unveil.images.outputs import check_outside
from unveil.io.checksums import document_sha256, file_sha256
from unveil.io.documents import FROM_LIBRARIES, part_of, read_json, reason
from unveil.io.regular import read_regular
from unveil.io.run_directory import FORMAT, MANIFEST, OVERLAP, linked_folder, read_manifest
from unveil.io.text import printable_document
from unveil.io.trust import is_own, warn_not_own
from unveil.presets import resolve
from unveil.results import OverlapResult, overlap_from_document, plain, record_of
from unveil.runs.inputs import same_inputs
from unveil.runs.parts import RESULT
from unveil.runs.versions import software_versions

logger = logging.getLogger(__name__)

DOCUMENT = "overlap.json"
# An overlap.json larger than this is not read: it takes about twenty times its size in memory.
MAX_RESULT_BYTES, MAX_OWN_BYTES = 2**30, 4 * 2**30


class RecordedOverlap(TypedDict):
    """What the manifest of an overlap says beside its result."""

    places: dict[str, str]
    parts: dict[str, str]
    settings: dict[str, Any]


class OverlapRun:
    """The run of a finished overlap, opened for reading.

    The places of the sets that it records count only if this user made it (``own``). Raises StoreError for a folder
    without a finished overlap, and for files that were damaged or changed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        linked = linked_folder(path)
        if linked is not None:
            raise StoreError(f"{linked} is a link, which is not followed in a run; copy the run without links")
        manifest = read_manifest(path / MANIFEST, OVERLAP)
        if manifest is None or manifest.get("status") != "finished":
            state = "holds no overlap" if manifest is None else "holds an overlap that is not finished; run it again"
            raise StoreError(f"{path} {state}; name the folder given to unveil overlap with -o")
        self.own = is_own(manifest)
        if not self.own:
            warn_not_own(path)
        try:
            limit = MAX_OWN_BYTES if self.own else MAX_RESULT_BYTES
            document = read_json(read_regular(path / DOCUMENT, limit))
            if manifest["version"] != FORMAT or document_sha256(document) != manifest[RESULT]:
                raise ValueError("another result")
            self.result: OverlapResult = overlap_from_document(
                {name: v if name == "manifest" and self.own else printable_document(v) for name, v in document.items()}
            )
            tables = (self.result.counts, self.result.labelled, self.result.shared, self.result.rejects)
            if any(set(table) != set(SET_NAMES) for table in tables):
                raise ValueError(f"expected facts of {' and '.join(SET_NAMES)}, found others")
            recorded = record_of(part_of(manifest, RecordedOverlap), RecordedOverlap)
            self._places, self._parts, self._settings = recorded["places"], recorded["parts"], recorded["settings"]
        except FROM_LIBRARIES as error:
            raise StoreError(
                f"{path / DOCUMENT} is damaged, or of another version or overlap than the manifest beside it "
                f"({reason(str(error))}); run the same overlap again"
            ) from None

    @property
    def is_whole(self) -> bool:
        """Whether all files of the run are as they were written."""
        try:
            return all(file_sha256(self.path / name) == digest for name, digest in self._parts.items())
        except OSError:
            return False

    def source(self, name: SetName) -> Source:
        """The images of a set. Raises SourceError if their place is not known or they are no longer there."""
        if not self.own or name not in self._places:
            raise SourceError(
                f"the images of {name} are not known: this user did not make the overlap in {self.path}, so the "
                "places in it are not used. Run it again with the places of both sets"
            )
        rule = LabelRule.parse(self._settings["labels"][name])
        return open_source(resolve(self._places[name])[0], rule, follow_links=self._settings["follow_links"])

    def unchanged(self, name: SetName) -> Source:
        """The images of a set, which are read and hashed. Raises SourceError as `source`, and if they have changed."""
        source = self.source(name)
        found = vectors_sha256(source) if isinstance(source, EmbeddingSource) else content_sha256(source)
        if found != self.result.manifest["inputs"][name]["sha256"]:
            raise SourceError(
                f"{source.where}: expected the files that were compared, found others. Run the overlap again"
            )
        return source

    def check_outside(self, option: str, place: Path) -> None:
        """Raises SettingError if ``place`` lies inside one of the sets."""
        for name, known in self._places.items() if self.own else ():
            check_outside(option, place, resolve(known)[0], name)


def finished_overlap(settings: OverlapSettings, *, verify: bool) -> OverlapResult | None:
    """The result of the finished overlap in ``settings.out``, if repeating it would give the same.

    As `unveil.runs.repeat.finished_result`.
    """
    manifest = read_manifest(settings.out / MANIFEST, OVERLAP)
    if manifest is None or manifest.get("status") != "finished" or not is_own(manifest):
        return None
    if manifest.get("settings") != plain(settings.facts()) or manifest.get("versions") != software_versions():
        return None
    try:
        run = OverlapRun(settings.out)
        if verify and not run.is_whole:
            logger.warning("%s: a file of the finished overlap has changed; comparing again", settings.out)
            return None
        if not same_inputs(settings, manifest, read=verify):
            logger.info("%s: the sets have changed since this overlap; comparing again", settings.out)
            return None
    except (OSError, InputError, StoreError):
        return None
    logger.info("%s: the sets have not changed since this overlap of %s", settings.out, manifest.get("finished"))
    return run.result
