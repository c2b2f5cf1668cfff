"""The result that a finished run records, without what later steps need: so that a repeated audit answers at once."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from unveil.columns import Texts
from unveil.errors import StoreError, UnveilError
from unveil.io.checksums import file_sha256
from unveil.io.collection import collection_paused
from unveil.io.documents import FROM_LIBRARIES, part_of, read_json, reason, shown
from unveil.io.regular import read_regular
from unveil.io.run_directory import FORMAT, MANIFEST, linked_folder, read_manifest
from unveil.io.text import printable_document
from unveil.io.trust import is_own, warn_not_own
from unveil.results import AuditResult, Exposures, from_document, from_own_document, record_of, schema_sha256
from unveil.results.audit import SCHEMA_VERSION
from unveil.runs.checks import REFERENCES, ROWS, ImageRow, RecordedParts, check_result, check_table
from unveil.runs.parts import DOCUMENT, EXPOSURES, SCHEMA, audit_key, read_part, result_sha256, role_file
from unveil.types import ROLES, Exposure, Role

# An audit.json larger than this is not read: that of a million people is smaller.
MAX_RESULT_BYTES = 2**30


class RecordedRun:
    """The run of a finished audit: its manifest, its result and its tables, checked.

    Raises StoreError for a folder without a finished audit, for a run of another version, and for files that are
    damaged or of different audits.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        linked = linked_folder(path)
        if linked is not None:
            raise StoreError(f"{linked} is a link, which is not followed in a run; copy the run without links")
        manifest = read_manifest(path / MANIFEST)
        if manifest is None or manifest.get("status") != "finished":
            state = "holds no audit" if manifest is None else "holds an audit that is not finished; run it again"
            if manifest is None and (path / "overlap.json").exists():
                raise StoreError(
                    f"{path} holds no audit but an overlap; open its overlap.html, or use unveil.load({str(path)!r}, "
                    "unveil.Overlap) in Python"
                )
            raise StoreError(f"{path} {state}; name the folder given to unveil audit with -o")
        self.own = is_own(manifest)
        if not self.own:
            warn_not_own(path)
        # A development version may have had other fields or choices under the same version.
        self._same_schema = manifest.get(SCHEMA) == schema_sha256()
        document, as_written = self._document(manifest)
        if manifest.get("version") != FORMAT or document.get("schema_version") != SCHEMA_VERSION:
            raise self._other_version()
        with self._damage("audit.json"):
            result = from_own_document(document) if as_written else from_document(document)
            if not as_written:
                check_result(result)
        with self._damage(MANIFEST):
            recorded = record_of(part_of(manifest, RecordedParts), RecordedParts)
        self._recorded, self._manifest = recorded, result.manifest
        self._checksums = recorded["parts"]
        own = {name: manifest.get(name) for name in result.manifest}
        if not as_written and (
            audit_key(own) != audit_key(result.manifest) or recorded["result"] != result_sha256(result)
        ):
            raise self._different("audit.json")
        self._checked: set[str] = set()
        shown = result.manifest if self.own else printable_document(result.manifest)
        self.result: AuditResult = replace(result, manifest=shown, exposures=self._exposures(result))

    def _document(self, manifest: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        """The document of the result, and whether it is still the file that this user's audit wrote, in this format.

        Only then its values need no check.
        """
        try:
            data = read_regular(self.path / "audit.json", MAX_RESULT_BYTES)
        except FileNotFoundError:
            raise self._other_version() from None
        except OSError as error:
            raise self._damaged("audit.json", str(error.strerror or error)) from None
        if self.own and self._same_schema and hashlib.sha256(data).hexdigest() == manifest.get(DOCUMENT):
            with collection_paused():
                written: dict[str, Any] = json.loads(data)
            return written, True
        with self._damage("audit.json"):
            document = read_json(data)
        if not isinstance(document, dict):
            return {}, False
        # Reports, messages and programs show these texts. The manifest is compared with that of the run first.
        return {name: v if name == "manifest" else printable_document(v) for name, v in document.items()}, False

    def _other_version(self) -> StoreError:
        return StoreError(
            f"{self.path} was made by another version of unveil; run the same audit again into a new folder. This one "
            f"reads runs of format {FORMAT} and results of format {SCHEMA_VERSION}"
        )

    def _damaged(self, name: str, why: str) -> StoreError:
        state = "damaged" if self._same_schema else "damaged, or of another version of unveil"
        return StoreError(f"{self.path / name} is {state} ({why}); run the audit again into a new folder")

    @contextlib.contextmanager
    def _damage(self, name: str) -> Iterator[None]:
        """Reading a file of the run. Whatever the libraries that read it raise becomes a StoreError that names it."""
        try:
            yield
        except (UnveilError, *FROM_LIBRARIES) as error:
            if isinstance(error, StoreError):
                raise
            raise self._damaged(name, reason(str(error).partition("\n")[0])) from None

    def _different(self, name: str) -> StoreError:
        return StoreError(
            f"{self.path / name} and the manifest of this run are of different audits, or it is damaged; run the same "
            "audit again"
        )

    def _file(self, name: str) -> Path:
        """A file of the run, whose checksum is compared once with that in the manifest."""
        file = self.path / name
        if name not in self._checked:
            with self._damage(name):
                if file_sha256(file) != self._checksums.get(name):
                    raise self._different(name)
            self._checked.add(name)
        return file

    def table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """A table of the run by the name of its file. Raises StoreError if it is damaged or of another audit."""
        file = self._file(name)
        with self._damage(name):
            table = read_part(file, columns)
            if name in ROWS:
                check_table(table, ROWS[name])
            for column, role in REFERENCES.get(name, {}).items() if not self.own else ():
                self._check_reference(table, column, role)
        return table

    def _check_reference(self, table: pa.Table, column: str, role: Role) -> None:
        """Raises ValueError for ids in a column of a table that are no images of a role."""
        if column not in table.column_names:
            return
        ids = Texts.of(table[column])
        unknown = np.flatnonzero(~ids.are_in(self._ids(role)))
        if len(unknown):
            raise ValueError(f"{column}: expected {role} images, found {shown(ids[int(unknown[0])])}")

    def _ids(self, role: Role) -> Texts:
        """The ids of the embedded images of a role."""
        if role not in self.roles:
            return Texts()
        return Texts.of(self._images_of(role)["id"])

    def _images_of(self, role: Role) -> pa.Table:
        """The table of the embedded images of a role: id, person and digest."""
        name = self._name(role_file(self.path, role))
        if role not in self._image_tables:
            table = self.table(name)
            with self._damage(name):
                check_table(table, ImageRow)
                n = self.result.counts[role].embedded
                if len(table) != n:
                    raise ValueError(f"expected {n} images, found {len(table)}")
                if not self.own and Texts.of(table["id"]).n_distinct() != n:
                    raise ValueError("id: expected different ids, found one twice")
            self._image_tables[role] = table
        return self._image_tables[role]

    @cached_property
    def _image_tables(self) -> dict[Role, pa.Table]:
        return {}

    def _exposures(self, result: AuditResult) -> Exposures | None:
        if result.global_test is None:
            return None
        rows = self.table(EXPOSURES)
        channels = list(result.channels)
        with self._damage(EXPOSURES):
            roles = {role.as_py(): role for role in rows["role"].unique()}
            training, control = (
                Exposure(
                    Texts.of(own["person"]),
                    _numbers(own["score"]),
                    _numbers(own["cosine"]),
                    _numbers(own["n_images"]),
                    np.stack([_numbers(own["synthetic_row"]), _numbers(own["real_row"])], axis=1),
                    np.array([channels.index(name) for name in own["channel"].to_pylist()], np.int64),
                    _numbers(own["identity_row"]),
                )
                for own in (rows.filter(pa.compute.equal(rows["role"], roles[role])) for role in ROLES[1:])
            )
            if not len(training) or not len(control):
                raise ValueError("expected training and control people, found none of either")
        return Exposures(training, control)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.path).as_posix()

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles that were audited."""
        return tuple(role for role in ROLES if role in self.result.counts)


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """The numbers (N,) of a column, none of which is missing; unlike Arrow's `to_numpy` without importing pandas."""
    return np.from_dlpack(column.combine_chunks())
