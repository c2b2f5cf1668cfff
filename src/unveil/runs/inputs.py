"""Whether the inputs of a finished run are still the same, without embedding anything.

Sizes and times of the files are compared first. If they differ, for example because the images were copied, the images
are read and hashed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from unveil.config.settings import LISTS, Settings
from unveil.embedding.embed import content_sha256, read_exclusions
from unveil.errors import InputError
from unveil.images import EmbeddingSource, Location, Source, open_source
from unveil.images.readers.file_list import ListSource
from unveil.images.readers.shards import expand_braces
from unveil.io.walk import walk
from unveil.types import ROLES, Role

# The name of the stamps in the manifest, and of the stamp of files that settings name, such as models and lists.
STAMPS, OTHER_FILES = "stamps", "files"


def input_stamps(settings: Settings, sources: Mapping[Role, Source]) -> dict[str, str]:
    """A hash of the names, sizes and times of the files behind each role, and of the files that other settings name.

    Remote inputs have no stamp, nor have lists of images that another reader wraps.
    """
    stamps = {OTHER_FILES: _stamp(named_files(settings))}
    for role, source in sources.items():
        location = settings.source(role)
        if location is not None and _can_be_stamped(location):
            stamps[role] = _stamp(_files_of(location, source, settings.follow_links))
    return stamps


def same_inputs(settings: Settings, manifest: Mapping[str, Any], *, read: bool = False) -> bool:
    """Whether the inputs of ``settings`` are those of the finished run with this manifest.

    Reads the images of a role only if its stamp differs, or with ``read``. Inputs that are not readable are not the
    same.
    """
    recorded = manifest.get(STAMPS, {})
    try:
        sources = {role: _open(settings, role) for role in ROLES if settings.source(role) is not None}
        stamps = input_stamps(settings, sources)
        if stamps[OTHER_FILES] != recorded.get(OTHER_FILES) or set(sources) != set(manifest["inputs"]):
            return False
        return all(
            (not read and role in stamps and stamps[role] == recorded.get(role))
            or _content(source, settings, role) == manifest["inputs"][role]["sha256"]
            for role, source in sources.items()
        )
    except (OSError, InputError):
        return False


def _can_be_stamped(location: Location) -> bool:
    wrapped = location.form == "grid" or "channels" in location.options
    return not location.remote and (location.path.is_dir() or not wrapped)


def _open(settings: Settings, role: Role) -> Source:
    location = settings.source(role)
    if location is None:
        raise ValueError(f"the settings name no {role} images")
    return open_source(location, settings.labels.get(role), follow_links=settings.follow_links)


def _content(source: Source, settings: Settings, role: Role) -> str | None:
    """The hash of the content of a role; None for embeddings, which cost nothing to audit again."""
    if isinstance(source, EmbeddingSource):
        return None
    exclude = settings.exclude if role == "synthetic" else None
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


def _files_of(location: Location, source: Source, follow_links: bool) -> Iterator[Path]:
    """The local files that a source may read, in a fixed order.

    For a container these are all files in its folder, because labels and indexes lie beside it.
    """
    path = location.path
    if path.is_dir():
        yield from _walk(path, follow_links)
        return
    containers = [path] if path.exists() else [Path(file) for file in expand_braces(location.target)]
    for folder in dict.fromkeys(file.parent for file in containers):
        yield from sorted(file for file in folder.iterdir() if file.is_file())
    if isinstance(source, ListSource):
        yield from (path.parent / source.path_of(record) for record in source.records)


def _walk(folder: Path, follow_links: bool) -> Iterator[Path]:
    visited: set[str] = set()
    for parent, folders, names in walk(folder, follow_links=follow_links):
        real = os.path.realpath(parent)
        if real in visited:  # links may form a circle
            folders.clear()
            continue
        visited.add(real)
        folders.sort()
        yield from (Path(parent) / name for name in sorted(names))


def named_files(settings: Settings) -> Iterator[Path]:
    """The lists, labels and models that settings name by a path."""
    labels = [rule.argument for rule in settings.labels.values() if rule.kind == "list"]
    lists = (getattr(settings, name) for name in LISTS)
    named = (*lists, settings.detector, settings.copy_model, *settings.model, *labels)
    for name in named:
        if name is not None and Path(name).is_file():
            yield Path(name)
