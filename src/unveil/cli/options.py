"""The options of `unveil audit`, in the order of its help."""

from __future__ import annotations

from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

# What is done when a command has ended, well or not.
AT_THE_END = ExitStack()
SOURCES, HOW, STATISTICS, WORK = "Pictures", "How pictures are read", "Statistics", "Work"


class FailOn(StrEnum):
    """A verdict that ends the command with exit code 1; each includes the ones before it."""

    leak = "leak"
    candidates = "candidates"
    inconclusive = "inconclusive"


class Device(StrEnum):
    """Where networks run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    tensorrt = "tensorrt"
    torch = "torch"


Synthetic = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="The synthetic set: a folder, a list, a container (zip, tar, RecordIO, LMDB, Parquet, HDF5, ...) or "
        "PRESET:PATH. unveil inspect PATH says how it is read.",
        rich_help_panel=SOURCES,
    ),
]
Training = Annotated[
    str | None,
    typer.Option(
        metavar="PATH", help="Real pictures the generator was trained on, or part of them.", rich_help_panel=SOURCES
    ),
]
Control = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Real people of the same kind whom the generator never saw. Without them there are only candidates.",
        rich_help_panel=SOURCES,
    ),
]
Exclude = Annotated[
    Path | None,
    typer.Option(
        metavar="LIST",
        help="Synthetic pictures that count as not being in the set, an id a line: what unveil clean writes.",
        rich_help_panel=SOURCES,
    ),
]
Out = Annotated[
    str | None,
    typer.Option(
        "--out", "-o", metavar="RUN", help="Folder of this audit, or its address: report, tables, embeddings."
    ),
]
SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="A TOML file with any of these settings; flags win.")
]
Model = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME|FILE",
        help="A face recognition network (ONNX); given twice, a pair must convince both. Default: dlib's ResNet, "
        "which needs no download. unveil models lists others.",
        rich_help_panel=HOW,
    ),
]
DetectorOption = Annotated[
    str | None,
    typer.Option(
        "--detector",
        metavar="NAME|FILE",
        help="Finds the face in pictures that are no aligned crops: dlib, or YuNet or SCRFD, which see more and are "
        "quicker (unveil models). (default: dlib)",
        rich_help_panel=HOW,
    ),
]
DeviceOption = Annotated[
    Device | None,
    typer.Option(
        "--device",
        help="Where networks run; auto takes a graphics card if there is one that can be used. (default: auto)",
        rich_help_panel=WORK,
    ),
]
Channels = Annotated[
    str | None,
    typer.Option(
        help="What is compared: face (who is in a picture), appearance (light, pose, hair), copy (needs --copy-model). "
        "(default: face,appearance)",
        rich_help_panel=HOW,
    ),
]
CopyModel = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="A copy-detection network such as SSCD (ONNX), to tell copies from new pictures of a person; compares "
        "everything with --channels face,appearance,copy.",
        rich_help_panel=HOW,
    ),
]
Aligned = Annotated[
    str | None,
    typer.Option(
        help="Are the pictures face crops aligned already: auto, yes, no, or synthetic=yes,training=no.",
        rich_help_panel=HOW,
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        help="Who is in a picture: auto, folder, labels, prefix:_, regex:PATTERN, list:FILE, each or none.",
        rich_help_panel=HOW,
    ),
]
SyntheticLabels = Annotated[str | None, typer.Option(help="The same for synthetic alone.", rich_help_panel=HOW)]
TrainingLabels = Annotated[str | None, typer.Option(help="The same for training alone.", rich_help_panel=HOW)]
ControlLabels = Annotated[str | None, typer.Option(help="The same for control alone.", rich_help_panel=HOW)]
FollowLinks = Annotated[
    bool | None,
    typer.Option("--follow-links", help="Follow links that leave a folder of pictures.", rich_help_panel=HOW),
]
Fdr = Annotated[
    float | None,
    typer.Option(help="False discovery rate at which people are listed. (default: 0.05)", rich_help_panel=STATISTICS),
]
Fpir = Annotated[
    float | None,
    typer.Option(
        help="Without a control set: share of real people above the line. (default: 0.01)", rich_help_panel=STATISTICS
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(help="Matches kept for each synthetic picture. (default: 10)", rich_help_panel=STATISTICS),
]
TopPairs = Annotated[
    int | None,
    typer.Option(help="Closest pairs of all that are kept. (default: 100)", rich_help_panel=STATISTICS),
]
MatchControls = Annotated[
    str | None,
    typer.Option(
        help="Match control people to training people by what foretells exposure: auto (where they differ), on, off.",
        rich_help_panel=STATISTICS,
    ),
]
Strata = Annotated[
    Path | None,
    typer.Option(
        help="A text file of lines `person label`: training people are matched by control people of their label.",
        rich_help_panel=STATISTICS,
    ),
]
Resamples = Annotated[
    int | None,
    typer.Option(
        help="How often pictures and people are drawn anew, to show what depends on it. (default: 20)",
        rich_help_panel=STATISTICS,
    ),
]
PlantedLeaks = Annotated[
    str | None,
    typer.Option(
        help="Planted leaks that show what the audit would have missed: full, quick (a tenth of the work) or off.",
        rich_help_panel=STATISTICS,
    ),
]
Seed = Annotated[int | None, typer.Option(help="Of every random draw. (default: 0)", rich_help_panel=STATISTICS)]
Store = Annotated[
    str | None,
    typer.Option(
        metavar="PLACE",
        help="Folder or address where embeddings are kept for the next audit, and what workers of a cluster write. "
        "(default: $UNVEIL_STORE, or unveil-store beside RUN)",
        rich_help_panel=WORK,
    ),
]
EngineOption = Annotated[
    str | None,
    typer.Option(
        help="Which machines work: local, ray (a cluster of this machine's cores) or ray:ADDRESS; the result is the "
        "same. (default: local)",
        rich_help_panel=WORK,
    ),
]
BackendOption = Annotated[
    str | None,
    typer.Option(
        help="What compares: auto, native, onnxruntime, torch or numpy; the result is the same. "
        "unveil info says which run here.",
        rich_help_panel=WORK,
    ),
]
Workers = Annotated[
    int | None, typer.Option(help="Threads that embed and compare here. (default: one a core)", rich_help_panel=WORK)
]
Log = Annotated[
    str | None,
    typer.Option(
        "--log",
        metavar="FILE",
        help="Write what the run does as lines of JSON, for other programs; - for standard error.",
        rich_help_panel=WORK,
    ),
]
Redact = Annotated[
    bool, typer.Option("--redact", help="Also write a report and a document that show no face and no name.")
]
FailOnOption = Annotated[
    FailOn | None,
    typer.Option("--fail-on", help="Exit with 1 for this verdict and the graver ones: a gate for pipelines."),
]
