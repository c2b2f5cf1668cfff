"""Keyword arguments of `unveil.audit`, for editors and type checkers (`python -m tools.audit_keywords`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from unveil.choices import Aligned, Device, MatchControls, PlantedLeaks, Role


class AuditKeywords(TypedDict, total=False):
    """Settings of an audit. One that is left out or None has its default."""

    exclude: str | Path | None
    """A text file with one id per line: synthetic images that are left out. unveil clean writes such a file."""
    model: str | Path | Sequence[str | Path] | None
    """A face recognition model (ONNX). Give it several times to require that a pair convinces every model. unveil
    models lists others."""
    detector: str | Path | None
    """The face detector for images that are not aligned crops: dlib, YuNet or SCRFD. YuNet and SCRFD detect more faces
    and are faster (unveil models)."""
    channels: str | Path | Sequence[str | Path] | None
    """What is compared: face (identity), appearance (light, pose, hair), copy (needs --copy-model)."""
    copy_model: str | Path | None
    """A copy detection model such as SSCD (ONNX), which separates copies from new images of a person. To compare all
    pairs with it as well, add --channels face,appearance,copy."""
    aligned: Aligned | Mapping[Role, Aligned] | None
    """Whether the images are aligned face crops: auto, yes, no, or synthetic=yes,training=no."""
    labels: str | Mapping[Role, str] | None
    """How an image gets its person label: auto, folder, labels, prefix:_, regex:PATTERN, list:FILE, one-per-image or
    none."""
    follow_links: bool | None
    """Follow links that leave a folder of images."""
    fdr: float | None
    """False discovery rate for people and identities."""
    global_level: float | None
    """Level of the global test and of the crowd test, whose null hypothesis is no leak."""
    top_k: int | None
    """Matches stored for each synthetic image."""
    top_pairs: int | None
    """Closest pairs stored for the whole set."""
    match_controls: MatchControls | None
    """Match control people to training people by prognostic score: auto (if the two groups differ), on, off."""
    learned_score: bool | None
    """Learn from the control people which scores tell training people apart, and test people by that too."""
    strata: str | Path | None
    """A text file of lines `person label`. Training people are compared with control people of their label."""
    label_map: str | Path | None
    """A text file of lines `synthetic label, training label` for the label link test, separated by tabs or commas.
    Without it, labels correspond by name, number or order."""
    resamples: int | None
    """Resamples of people and images, which show how stable the findings are; one where all images are tested."""
    planted_leaks: PlantedLeaks | None
    """Planted leaks, which measure what the audit would miss: full, quick (a tenth of the work) or off."""
    protocol: str | Path | None
    """A protocol that unveil plan --protocol wrote. Its settings apply, and an audit that differs from it is
    refused."""
    deviate: str | Path | None
    """Audit although settings or inputs differ from the protocol. The differences and this reason stand in the
    report."""
    seed: int | None
    """Seed of every random choice."""
    store: str | Path | None
    """Folder or address where embeddings are stored for the next audit. Workers of a cluster write there."""
    trust_store: bool | None
    """Use embeddings in the store whoever made them. Without it, those that your key did not seal are computed again.
    Give it if you trust everybody who can write there."""
    device: Device | None
    """Where models run: auto (a GPU if one can be used), cpu, cuda, tensorrt or torch."""
    backend: str | Path | None
    """How vectors are compared: auto, native, onnxruntime, torch or numpy. The result is the same. unveil info shows
    which run here."""
    engine: str | Path | None
    """Which machines work: local, ray (a cluster of this machine's cores) or ray:ADDRESS. The result is the same."""
    workers: int | None
    """Threads that embed and compare on this machine."""
