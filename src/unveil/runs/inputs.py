"""Whether the inputs of a finished run are still the same, without embedding anything.

Sizes and times of the files are compared first. If they differ, for example because the images were copied, the images
are read and hashed.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from unveil.errors import InputError, ModelError, SourceError
from unveil.faces.models.library import find_model
from unveil.faces.models.spec import description_files
from unveil.images import EmbeddingSource, LabelRule, Location, Source, open_sources
from unveil.images.blob import LocalBlob
from unveil.images.named import TABLES
from unveil.images.named import named_files as files_named_in
from unveil.images.readers.shards import expand_braces
from unveil.images.sniff import form_of
from unveil.io.checksums import document_sha256, file_sha256
from unveil.io.walk import walk

# The name of the stamps in the manifest, and of the stamp of files that settings name, such as models and lists, and of
# their content.
STAMPS, OTHER_FILES, CONTENT = "stamps", "files", "content of files"

# A link with such a name is not opened: it is no table.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm")

R = TypeVar("R", bound=str)


class InputSettings(Protocol[R]):
    """The settings that say what is read: images by their role, and other files."""

    @property
    def locations(self) -> Mapping[R, Location]:
        """Where the images of each role are."""

    @property
    def exclusions(self) -> Mapping[R, Path]:
        """Lists of images that are left out."""

    @property
    def labels(self) -> Mapping[R, LabelRule]:
        """The label rule of each role that has one."""

    @property
    def follow_links(self) -> bool:
        """Whether links out of a folder of images are followed."""

    @property
    def file_names(self) -> tuple[str | Path | None, ...]:
        """Values that can name a list or labels to read."""

    @property
    def model_names(self) -> tuple[str | None, ...]:
        """Values that name a model or its file."""


def input_stamps(settings: InputSettings[R], *, read: bool = True) -> dict[str, str]:
    """A hash of the names, sizes and times of the files behind each role, and of the files that other settings name.

    With ``read`` the latter have a hash of their content too. Files that describe a model are among them: another
    description is another model. Remote inputs have no stamp, nor have lists of images that another reader wraps, and
    containers of which it cannot be said what they name.
    """
    files = [*named_files(settings), *(file for model in model_files(settings) for file in description_files(model))]
    stamps = {OTHER_FILES: _stamp(files)}
    if read:
        stamps[CONTENT] = document_sha256({str(file): file_sha256(file) if file.is_file() else "" for file in files})
    for role, location in settings.locations.items():
        if _can_be_stamped(location):
            with contextlib.suppress(SourceError):
                stamps[role] = _stamp(_files_of(location, settings.follow_links))
    return stamps


def same_inputs(settings: InputSettings[R], manifest: Mapping[str, Any], *, read: bool = False) -> bool:
    """Whether the inputs of ``settings`` are those of the finished run with this manifest.

    Opens and reads the images of a role only if its stamp differs, or with ``read``. Inputs that are not readable are
    not the same.
    """
    recorded = manifest.get(STAMPS, {})
    try:
        stamps = input_stamps(settings, read=read)
        if any(name in stamps and stamps[name] != recorded.get(name) for name in (OTHER_FILES, CONTENT)):
            return False
        if set(settings.locations) != set(manifest["inputs"]):
            return False
        in_doubt = {
            role: location
            for role, location in settings.locations.items()
            if read or role not in stamps or stamps[role] != recorded.get(role)
        }
        sources = open_sources(in_doubt, settings.labels, follow_links=settings.follow_links)
        return all(
            _content(source, settings.exclusions.get(role)) == manifest["inputs"][role]["sha256"]
            for role, source in sources.items()
        )
    except (OSError, InputError):
        return False


def _can_be_stamped(location: Location) -> bool:
    wrapped = location.form == "grid" or "channels" in location.options
    return not location.remote and (location.path.is_dir() or not wrapped)


def _content(source: Source, exclude: Path | None) -> str | None:
    """The hash of the content of a role; None for embeddings, which cost nothing to audit again."""
    if isinstance(source, EmbeddingSource):
        return None
    from unveil.embedding.embed import content_sha256, read_exclusions  # slow to import, and rarely needed

    return content_sha256(source, frozenset() if exclude is None else read_exclusions(exclude, source))


def _stamp(files: Iterable[Path]) -> str:
    sha256 = hashlib.sha256()
    for file in files:
        file = file.absolute()
        try:
            status = file.stat()
            facts = f"{file.as_posix()}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}\n"
        except OSError as error:
            facts = f"{file.as_posix()}\0{error.strerror}\n"
        sha256.update(facts.encode("utf-8", "surrogateescape"))
    return sha256.hexdigest()


def _files_of(location: Location, follow_links: bool) -> Iterator[Path]:
    """The local files that a source may read, in a fixed order.

    For a container these are all files in its folder, because labels and indexes lie beside it, and those that it
    names. Raises SourceError for one that cannot be read.
    """
    path = location.path
    beside = [value for name, value in location.options.items() if name == "mask"]
    if path.is_dir():
        for file in _walk(path, follow_links):
            yield file
            # What a table names lies beside the target of the link.
            if follow_links and _is_linked_table(file):
                yield from files_named_in(file, None, location.options)
        yield from (path / name for name in beside)
        return
    containers = [path] if path.exists() else [Path(file) for file in expand_braces(location.target)]
    for folder in dict.fromkeys(file.parent for file in containers):
        yield from sorted(file for file in folder.iterdir() if file.is_file())
        yield from (folder / name for name in beside)
    for container in containers:
        yield from files_named_in(container, location.form, location.options, follow_links=follow_links)


def _is_linked_table(file: Path) -> bool:
    if not file.is_symlink() or file.suffix.lower() in IMAGE_SUFFIXES or not file.is_file():
        return False
    return form_of(LocalBlob(file)) in TABLES


def _walk(folder: Path, follow_links: bool) -> Iterator[Path]:
    for parent, folders, names in walk(folder, follow_links=follow_links):
        folders.sort()
        yield from (Path(parent) / name for name in sorted(names))


def named_files(settings: InputSettings[R]) -> Iterator[Path]:
    """The lists, labels and models that settings name by a path, and the files of models that they name otherwise."""
    yield from (Path(name) for name in settings.file_names if name is not None and Path(name).is_file())
    yield from model_files(settings)


def model_files(settings: InputSettings[R]) -> Iterator[Path]:
    """The files of the models that settings name; none for those of a package."""
    for name in settings.model_names:
        if name is not None:
            with contextlib.suppress(ModelError):
                yield find_model(name)
