"""From what is to be audited, or from mere numbers, to a workload and to pictures that can be measured."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from unveil.channels.alignment import ImageAlignment
from unveil.config.channels import channel_config
from unveil.config.parsing import settings_from
from unveil.config.settings import Settings
from unveil.embedding.embed import decide_alignment
from unveil.embedding.embedder import AuditEmbedder
from unveil.embedding.pipeline import ImagePreprocessor
from unveil.errors import SettingError
from unveil.faces.align import ImageArray
from unveil.images import Source, open_source
from unveil.planning.expected import workload_of
from unveil.planning.rates import SAMPLE, WARM
from unveil.planning.workload import Workload
from unveil.types import ROLES, Role

Sample = tuple[Source, ImageAlignment, ImagePreprocessor, str, str]
_NUMBER = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)([kKMG]?)")
TIMES = {"": 1, "k": 1_000, "K": 1_000, "M": 1_000_000, "G": 1_000_000_000}


def parse_counts(text: str) -> dict[Role, int]:
    """Numbers of pictures by role; SettingError for anything else."""
    found = [_NUMBER.fullmatch(part.strip()) for part in text.split(",")]
    if not 2 <= len(found) <= 3 or None in found:
        raise SettingError(
            f"--counts {text!r}: use SYN,REAL or SYN,REAL,CONTROL, for example 500k,500k,100k or 10M,42M"
        )
    numbers = [round(float(f[1]) * TIMES[f[2]]) for f in found if f is not None]
    if not all(numbers):
        raise SettingError(f"--counts {text!r}: every number should be at least 1")
    return dict(zip(ROLES, numbers, strict=False))


def from_sources(settings: Settings) -> tuple[Workload, Sample]:
    """Counts what is there; the largest source is measured."""
    sources = {
        role: open_source(place, settings.labels.get(role), follow_links=settings.follow_links)
        for role in ROLES
        if (place := settings.source(role)) is not None
    }
    channels = AuditEmbedder(channel_config(settings), sources)
    role, source = max(sources.items(), key=lambda item: len(item[1].records))
    sample = _sample(settings, role, source, channels, f"{role} pictures")
    return workload_of(settings, sources, channels), sample


def from_counts(
    counts: Mapping[Role, int], draw: Callable[[int], Iterable[ImageArray]], folder: Path, values: dict[str, Any]
) -> tuple[Workload, Sample]:
    """For mere numbers drawn faces are measured; every control person is taken to have one picture."""
    images = folder / "drawn"
    images.mkdir()
    for i, face in enumerate(draw(SAMPLE + WARM)):
        # As aligned crops are shipped.
        Image.fromarray(face).resize((112, 112), Image.Resampling.BICUBIC).save(images / f"{i:04d}.jpg", quality=95)
    places = {"synthetic": str(images), "training": str(images)}
    settings = settings_from({**values, **places, "aligned": values["aligned"] or dict.fromkeys(ROLES, "yes")})
    people = counts.get("control", counts["training"])
    source = open_source(images)
    channels = AuditEmbedder(channel_config(settings), {"training": source})
    workload = Workload(dict(counts), people, channels.dimensions, settings.top_k, settings.cohort_share)
    return workload, _sample(settings, "training", source, channels, "drawn faces, 112 pixels, aligned")


def _sample(settings: Settings, role: Role, source: Source, channels: AuditEmbedder, told: str) -> Sample:
    alignment = decide_alignment(source, settings.aligned.get(role, "auto"))
    return source, alignment, channels.preprocessor(alignment), settings.backend, told
