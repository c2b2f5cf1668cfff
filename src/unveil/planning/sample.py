"""The workload of a planned audit, and a sample of its images to measure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from unveil.config.channels import channels_of
from unveil.embedding.embed import decide_alignment
from unveil.embedding.embedder import AuditEmbedder
from unveil.errors import SettingError
from unveil.faces.align import ImageArray
from unveil.images import open_source
from unveil.planning.expected import workload_of
from unveil.planning.rates import Sample
from unveil.planning.workload import Workload, planted_images
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


def from_sources(settings: Mapping[str, Any]) -> tuple[Workload, Sample]:
    """The workload of the sources in these parsed settings; the sample is from the largest."""
    sources = {
        role: open_source(settings[role], settings["labels"].get(role), follow_links=settings["follow_links"])
        for role in ROLES
        if settings.get(role) is not None
    }
    embedder = AuditEmbedder(channels_of(settings), sources)
    role, source = max(sources.items(), key=lambda item: len(item[1].records))
    alignment = decide_alignment(source, settings["aligned"].get(role, "auto"))
    sample = Sample(source, embedder.preprocessor(alignment), settings["backend"], f"{role} images")
    work = workload_of(
        *(sources, embedder.dimensions), top_k=settings["top_k"], planted_leaks=settings["planted_leaks"]
    )
    return work, sample


def from_counts(
    counts: Mapping[Role, int], faces: Iterable[ImageArray], folder: Path, settings: Mapping[str, Any]
) -> tuple[Workload, Sample]:
    """The workload of so many images, with one image a real person; the sample is of drawn faces.

    ``faces`` are written to ``folder``. They count as aligned crops unless the parsed settings say otherwise.
    """
    images = folder / "drawn"
    images.mkdir()
    for i, face in enumerate(faces):
        # Published aligned crops have this size and quality.
        Image.fromarray(face).resize((112, 112), Image.Resampling.BICUBIC).save(images / f"{i:04d}.jpg", quality=95)
    source = open_source(images)
    embedder = AuditEmbedder(channels_of(settings), {"training": source})
    alignment = decide_alignment(source, settings["aligned"].get("training", "yes"))
    sample = Sample(source, embedder.preprocessor(alignment), settings["backend"], "drawn faces, 112 pixels, aligned")
    people = counts["training"] + counts.get("control", 0)
    planted = planted_images(settings["planted_leaks"], counts.get("control", 0))
    return Workload(dict(counts), people, embedder.dimensions, settings["top_k"], planted=planted), sample
