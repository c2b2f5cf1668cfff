"""From the settings of an audit to its protocol, before anything is embedded or compared."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from unveil import __version__
from unveil.analysis.label_link import class_labels
from unveil.config.channels import channel_config
from unveil.config.paths import check_lists
from unveil.config.settings import LISTS, Settings
from unveil.embedding.embed import content_sha256, read_exclusions
from unveil.embedding.embedder import AuditEmbedder
from unveil.embedding.precomputed import vectors_sha256
from unveil.errors import ImageError
from unveil.images import EmbeddingSource, Source, open_sources
from unveil.io.checksums import file_sha256
from unveil.planning.protocol import (
    FIXED,
    FixedInput,
    FixedModel,
    Protocol,
    named_models,
    planned_statement,
    without_places,
)
from unveil.results import PlannedStatement
from unveil.stats.no_control import MIN_SEARCHES
from unveil.stats.statements import Evidence
from unveil.types import Role

logger = logging.getLogger(__name__)

# Images of more bytes than this are fixed by their names alone: reading them would take minutes.
MAX_READ_BYTES = 16 * 2**30
SIZE_SAMPLE = 64


def fix_protocol(settings: Settings) -> Protocol:
    """The protocol of the audit with these settings. Nothing is embedded or compared.

    The content of images is hashed if they lie on this machine and have at most MAX_READ_BYTES. Raises InputError for
    inputs that cannot be read.
    """
    check_lists(settings)
    sources = open_sources(settings.locations, settings.labels, follow_links=settings.follow_links)
    models, detector, copy_model = fixed_models(AuditEmbedder(channel_config(settings), sources))
    facts = settings.facts()
    return Protocol(
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        unveil=__version__,
        settings={**{name: without_places(name, facts[name]) for name in FIXED}, **named_models(facts)},
        models=models,
        detector=detector,
        copy_model=copy_model,
        files=fixed_files(settings),
        inputs={role: _fixed_input(settings, role, source) for role, source in sources.items()},
        statements=announced(settings, sources),
    )


def fixed_models(embedder: AuditEmbedder) -> tuple[tuple[FixedModel, ...], FixedModel, FixedModel | None]:
    """The face models, the detector and the copy-detection model, each with all that decides what it gives."""
    copies = embedder.copy_model
    return (
        tuple(
            FixedModel(str(facts["name"]), f"{facts['sha256']} {facts['model_id']}") for facts in embedder.model_facts
        ),
        FixedModel(embedder.detector["name"], embedder.detector["key"]),
        None if copies is None else FixedModel(copies["name"], copies["key"]),
    )


def fixed_files(settings: Settings) -> dict[str, str]:
    """The SHA-256 of each further file that the settings name, but for the protocol.

    A list of labels lies in a set or beside it. What it says of its images is in `names_sha256`.
    """
    named: dict[str, Path | None] = {name: getattr(settings, name) for name in LISTS if name != "protocol"}
    return {name: file_sha256(file) for name, file in named.items() if file is not None and file.is_file()}


def names_sha256(source: Source) -> str:
    """The hash of the names and labels of all images."""
    sha256 = hashlib.sha256()
    for record in source.records:
        sha256.update(f"{record.id}\0{record.person}\n".encode())
    return sha256.hexdigest()


def announced(settings: Settings, sources: Mapping[Role, Source]) -> tuple[PlannedStatement, ...]:
    """The statements that an audit of these sources makes, unless an input check blocks them."""
    names: list[Evidence] = ["exact copy"]
    if not any(source.kind == "embeddings" for source in sources.values()):
        names.append("near-identical copy")
    if all(class_labels(sources).values()):
        names.append("label link")
    if "control" in sources:
        names += ["global test", "conformal", "GPD tail", "identities"]
        if settings.learned_score:
            names.append("learned score")
    elif len(sources["training"].records.people.coded()[0]) >= MIN_SEARCHES:
        names += ["crowd test", "conformal search", "GPD search"]
    levels = {"fdr": settings.fdr, "global_level": settings.global_level}
    return tuple(planned_statement(name, levels) for name in names)


def _fixed_input(settings: Settings, role: Role, source: Source) -> FixedInput:
    people = source.records.people
    return FixedInput(
        kind=source.kind,
        images=len(source.records),
        labels=len(people.coded()[0]),
        unlabelled=people.n_missing,
        names_sha256=names_sha256(source),
        content_sha256=_content(settings, role, source),
    )


def _content(settings: Settings, role: Role, source: Source) -> str | None:
    """The hash of the content of a role, as the manifest of the audit states it; None if reading it takes long."""
    exclude = settings.exclusions.get(role)
    excluded = frozenset() if exclude is None else read_exclusions(exclude, source)
    if isinstance(source, EmbeddingSource):
        return vectors_sha256(source, excluded)
    if settings.locations[role].remote or _bytes(source) > MAX_READ_BYTES:
        return None
    logger.info("%s: reading %d files", role, len(source.records))
    return content_sha256(source, excluded)


def _bytes(source: Source) -> float:
    """About how many bytes the images of a source have."""
    sizes = []
    for i in np.linspace(0, len(source.records) - 1, min(SIZE_SAMPLE, len(source.records))).astype(int):
        try:
            sizes.append(len(source.read(source.records[i])))
        except ImageError:
            continue
    return float(np.mean(sizes)) * len(source.records) if sizes else 0.0
