"""The workload of a planned audit, and a sample of its images to measure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from unveil.config.channels import channel_config
from unveil.config.parsing import settings_from
from unveil.config.settings import Settings
from unveil.embedding.embed import decide_alignment
from unveil.embedding.embedder import AuditEmbedder
from unveil.errors import SettingError
from unveil.faces.align import ImageArray
from unveil.images import Source, open_source
from unveil.planning.expected import workload_of
from unveil.planning.rates import SAMPLE, WARM, Sample
from unveil.planning.workload import Workload
from unveil.types import ROLES, Role

_NUMBER = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)([kKMG]?)")
FACTORS = {"": 1, "k": 1_000, "K": 1_000, "M": 1_000_000, "G": 1_000_000_000}


def parse_counts(text: str) -> dict[Role, int]:
    """Numbers of images by role from ``SYN,REAL[,CONTROL]``; SettingError for anything else."""
    found = [_NUMBER.fullmatch(part.strip()) for part in text.split(",")]
    if not 2 <= len(found) <= 3 or None in found:
        raise SettingError(
            f"--counts {text!r}: use SYN,REAL or SYN,REAL,CONTROL, for example 500k,500k,100k or 10M,42M"
        )
    numbers = [round(float(f[1]) * FACTORS[f[2]]) for f in found if f is not None]
    if not all(numbers):
        raise SettingError(f"--counts {text!r}: every number should be at least 1")
    return dict(zip(ROLES, numbers, strict=False))


def from_sources(settings: Settings) -> tuple[Workload, Sample]:
    """The workload of the sources in the settings; the sample is from the largest."""
    sources = {
        role: open_source(place, settings.labels.get(role), follow_links=settings.follow_links)
        for role in ROLES
        if (place := settings.source(role)) is not None
    }
    channels = AuditEmbedder(channel_config(settings), sources)
    role, source = max(sources.items(), key=lambda item: len(item[1].records))
    sample = _sample(settings, role, source, channels, f"{role} images")
    return workload_of(settings, sources, channels), sample


def from_counts(
    counts: Mapping[Role, int], draw: Callable[[int], Iterable[ImageArray]], folder: Path, values: dict[str, Any]
) -> tuple[Workload, Sample]:
    """The workload of so many images, with one image a control person; the sample is of drawn faces."""
    images = folder / "drawn"
    images.mkdir()
    for i, face in enumerate(draw(SAMPLE + WARM)):
        # Published aligned crops have this size and quality.
        Image.fromarray(face).resize((112, 112), Image.Resampling.BICUBIC).save(images / f"{i:04d}.jpg", quality=95)
    sources = {"synthetic": str(images), "training": str(images)}
    settings = settings_from({**values, **sources, "aligned": values["aligned"] or dict.fromkeys(ROLES, "yes")})
    people = counts.get("control", counts["training"])
    source = open_source(images)
    channels = AuditEmbedder(channel_config(settings), {"training": source})
    workload = Workload(dict(counts), people, channels.dimensions, settings.top_k, settings.cohort_share)
    return workload, _sample(settings, "training", source, channels, "drawn faces, 112 pixels, aligned")


def _sample(settings: Settings, role: Role, source: Source, channels: AuditEmbedder, description: str) -> Sample:
    alignment = decide_alignment(source, settings.aligned.get(role, "auto"))
    return Sample(source, channels.preprocessor(alignment), settings.backend, description)
