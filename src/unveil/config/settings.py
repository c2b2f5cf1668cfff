"""The table of settings: each is declared once, as a field of `Settings`.

To add one, add a field. Parsing, the option of `unveil audit`, the manifest, the command in the report, redaction and
the reference documentation follow from it; `python -m tools.audit_keywords` writes the keyword
arguments of `unveil.audit`. The command line imports this module, so it imports nothing heavy.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unveil.choices import (
    ALIGNED,
    BACKENDS,
    CHANNELS,
    DEVICES,
    MATCH_CONTROLS,
    PLANTED_LEAKS,
    ROLES,
    Aligned,
    Device,
    MatchControls,
    PlantedLeaks,
    Role,
)
from unveil.config.declaration import Setting, declared, setting
from unveil.errors import SettingError

if TYPE_CHECKING:
    import numpy as np

    from unveil.images.label_rule import LabelRule
    from unveil.images.location import Location

IMAGES, READING, STATISTICS, EXECUTION = "Images", "Reading and models", "Statistics", "Execution"
# A pair must exceed the threshold of every model, so each further model costs time and adds little.
MAX_MODELS = 8
# A smaller level would hide every leak, and settings may be a stranger's.
MIN_LEVEL = 1e-4
# The store beside a run.
STORE = "unveil-store"


@dataclass(frozen=True)
class Settings:
    """The settings of one audit. Raises SettingError for values outside their limits.

    A value outside its declared limits or choices is refused here; types are checked by `unveil.config.parsing`.
    """

    synthetic: Location = setting(
        help="The synthetic dataset: a folder, a list, a container (zip, tar, RecordIO, LMDB, Parquet, HDF5, ...) or "
        "PRESET:PATH. unveil inspect PATH shows how it is read.",
        panel=IMAGES,
        metavar="PATH",
        private=True,
    )
    training: Location = setting(
        help="Real images that the generator was trained on, or a part of them.",
        panel=IMAGES,
        metavar="PATH",
        private=True,
    )
    out: Path = setting(
        help="Folder or address of this audit: report, tables, embeddings.",
        panel=IMAGES,
        metavar="RUN",
        flags=("--out", "-o"),
        changes_result=False,
        private=True,
    )
    control: Location | None = setting(
        None,
        help="Control people: real people like the training people whom the generator never saw. Without them, "
        "training people are searched for among each other to show what chance produces.",
        panel=IMAGES,
        metavar="PATH",
        private=True,
    )
    exclude: Path | None = setting(
        None,
        help="A text file with one id per line: synthetic images that are left out. unveil clean writes such a file.",
        panel=IMAGES,
        metavar="LIST",
        private=True,
    )
    model: tuple[str, ...] = setting(
        (),
        help="A face recognition model (ONNX). Give it several times to require that a pair convinces every model. "
        "unveil models lists others.",
        expected=f"the name or file of a model, or a list of at most {MAX_MODELS} different ones",
        panel=READING,
        metavar="NAME|FILE",
        repeatable=True,
        default_words="dlib's ResNet, which needs no download",
        private=True,
    )
    detector: str = setting(
        "dlib",
        help="The face detector for images that are not aligned crops: dlib, YuNet or SCRFD. YuNet and SCRFD detect "
        "more faces and are faster (unveil models).",
        expected="the name or file of a detector",
        panel=READING,
        metavar="NAME|FILE",
        private=True,
    )
    channels: tuple[str, ...] = setting(
        ("face", "appearance"),
        help="What is compared: face (identity), appearance (light, pose, hair), copy (needs --copy-model).",
        expected=f"face, and with it any of {', '.join(list(CHANNELS)[1:])}, separated by commas",
        panel=READING,
        metavar="LIST",
        separator=",",
    )
    copy_model: str | None = setting(
        None,
        help="A copy detection model such as SSCD (ONNX), which separates copies from new images of a person. To "
        "compare all pairs with it as well, add --channels face,appearance,copy.",
        expected="the name or file of a copy detection model",
        panel=READING,
        metavar="NAME|FILE",
        private=True,
    )
    aligned: dict[Role, Aligned] = setting(
        factory=dict,
        help="Whether the images are aligned face crops: auto, yes, no, or synthetic=yes,training=no.",
        panel=READING,
        choices=ALIGNED,
        by_role="text",
    )
    labels: dict[Role, LabelRule] = setting(
        factory=dict,
        help="How an image gets its person label: auto, folder, labels, prefix:_, regex:PATTERN, list:FILE, "
        "one-per-image or none.",
        expected="a label rule",
        panel=READING,
        metavar="RULE",
        by_role="options",
        private=True,
    )
    follow_links: bool = setting(False, help="Follow links that leave a folder of images.", panel=READING)
    fdr: float = setting(
        0.05, help="False discovery rate for people and identities.", panel=STATISTICS, at_least=MIN_LEVEL, at_most=0.5
    )
    global_level: float = setting(
        0.01,
        help="Level of the global test and of the crowd test, whose null hypothesis is no leak.",
        panel=STATISTICS,
        at_least=MIN_LEVEL,
        at_most=0.5,
    )
    top_k: int = setting(
        10, help="Matches stored for each synthetic image.", panel=STATISTICS, at_least=1, at_most=1000
    )
    top_pairs: int = setting(
        100, help="Closest pairs stored for the whole set.", panel=STATISTICS, at_least=1, at_most=100_000
    )
    match_controls: MatchControls = setting(
        "auto",
        help="Match control people to training people by prognostic score: auto (if the two groups differ), on, off.",
        panel=STATISTICS,
        choices=MATCH_CONTROLS,
    )
    learned_score: bool = setting(
        False,
        help="Learn from the control people which scores tell training people apart, and test people by that too.",
        panel=STATISTICS,
    )
    strata: Path | None = setting(
        None,
        help="A text file of lines `person label`. Training people are compared with control people of their label.",
        panel=STATISTICS,
        metavar="FILE",
        private=True,
    )
    label_map: Path | None = setting(
        None,
        help="A text file of lines `synthetic label, training label` for the label link test, separated by tabs or "
        "commas. Without it, labels correspond by name, number or order.",
        panel=STATISTICS,
        metavar="FILE",
        private=True,
    )
    resamples: int = setting(
        20,
        help="Resamples of people and images, which show how stable the findings are; one where all images are tested.",
        panel=STATISTICS,
        at_least=1,
        at_most=10_000,
    )
    planted_leaks: PlantedLeaks = setting(
        "full",
        help="Planted leaks, which measure what the audit would miss: full, quick (a tenth of the work) or off.",
        panel=STATISTICS,
        choices=PLANTED_LEAKS,
    )
    protocol: Path | None = setting(
        None,
        help="A protocol that unveil plan --protocol wrote. Its settings apply, and an audit that differs from it is "
        "refused.",
        panel=STATISTICS,
        metavar="FILE",
        private=True,
    )
    deviate: str | None = setting(
        None,
        help="Audit although settings or inputs differ from the protocol. The differences and this reason stand in the "
        "report.",
        expected="a reason in words",
        panel=STATISTICS,
        metavar="REASON",
        private=True,
    )
    seed: int = setting(0, help="Seed of every random choice.", panel=STATISTICS, at_least=0, at_most=2**63 - 1)
    store: str | None = setting(
        None,
        help="Folder or address where embeddings are stored for the next audit. Workers of a cluster write there.",
        expected="a folder or an address",
        panel=EXECUTION,
        metavar="PLACE",
        default_words="$UNVEIL_STORE, or unveil-store beside RUN",
        changes_result=False,
        private=True,
    )
    trust_store: bool = setting(
        False,
        help="Use embeddings in the store whoever made them. Without it, those that your key did not seal are "
        "computed again. Give it if you trust everybody who can write there.",
        panel=EXECUTION,
        changes_result=False,
    )
    device: Device = setting(
        "auto",
        help="Where models run: auto (a GPU if one can be used), cpu, cuda, tensorrt or torch.",
        panel=EXECUTION,
        choices=DEVICES,
        changes_result=False,
    )
    backend: str = setting(
        "auto",
        help="How vectors are compared: auto, native, onnxruntime, torch or numpy. The result is the same. unveil info "
        "shows which run here.",
        panel=EXECUTION,
        choices=BACKENDS,
        changes_result=False,
    )
    engine: str = setting(
        "local",
        help="Which machines work: local, ray (a cluster of this machine's cores) or ray:ADDRESS. The result is the "
        "same.",
        expected="local, ray or ray:ADDRESS",
        panel=EXECUTION,
        metavar="ENGINE",
        changes_result=False,
        private=True,
    )
    workers: int = setting(
        0,
        help="Threads that embed and compare on this machine.",
        panel=EXECUTION,
        at_least=0,
        at_most=1024,
        default_words="0, one per core",
        changes_result=False,
    )
    # Not a setting: the address of a remote run, of which ``out`` is the local copy. Parsing fills it in.
    remote_run: str | None = None

    def __post_init__(self) -> None:
        for name, declaration in SETTINGS.items():
            declaration.check(getattr(self, name))
        if len(self.model) > MAX_MODELS or len(set(self.model)) < len(self.model):
            raise SETTINGS["model"].refusal(list(self.model))
        if "face" not in self.channels or set(self.channels) - set(CHANNELS):
            raise SETTINGS["channels"].refusal(",".join(self.channels))
        if "copy" in self.channels and self.copy_model is None:
            raise SettingError(
                "channels: expected a copy detection model for the copy channel, found none. Name one with "
                "--copy-model, or leave the copy channel out"
            )

    def source(self, role: Role) -> Location | None:
        """Where the images of a role are."""
        return {"synthetic": self.synthetic, "training": self.training, "control": self.control}[role]

    @property
    def locations(self) -> dict[Role, Location]:
        """Where the images of each role are that is given."""
        given = {role: self.source(role) for role in ROLES}
        return {role: location for role, location in given.items() if location is not None}

    @property
    def exclusions(self) -> dict[Role, Path]:
        """The list of images to leave out of a role, where there is one."""
        return {} if self.exclude is None else {"synthetic": self.exclude}

    @property
    def file_names(self) -> tuple[str | Path | None, ...]:
        """The values that can name a file to read besides images and models: lists and labels."""
        labels = (rule.argument for rule in self.labels.values() if rule.kind == "list")
        return (*(getattr(self, name) for name in LISTS), *labels)

    @property
    def model_names(self) -> tuple[str | None, ...]:
        """The values that name a model or its file."""
        return (self.detector, self.copy_model, *self.model)

    @property
    def store_place(self) -> str:
        """Where embeddings are stored for the next audit: as set, else UNVEIL_STORE, else beside the run."""
        return store_of(self.store, self.out, self.remote_run)

    def random(self, purpose: str) -> np.random.Generator:
        """A random generator for one purpose. A further purpose leaves the random numbers of the others unchanged."""
        from unveil.stats.generators import generator

        return generator(self.seed, purpose)

    def facts(self) -> dict[str, Any]:
        """The settings that can change the result, as plain values for the manifest."""
        return {
            name: declaration.plain(getattr(self, name))
            for name, declaration in SETTINGS.items()
            if declaration.changes_result
        }


def store_of(store: str | None, out: Path, remote_run: str | None = None) -> str:
    """Where embeddings are stored: in ``store``, else in UNVEIL_STORE, else beside the run."""
    place = store or os.environ.get("UNVEIL_STORE")
    if place:
        return place
    if remote_run is not None:
        return remote_run.rstrip("/").rpartition("/")[0] + f"/{STORE}"
    return str(out.absolute().parent / STORE)


# By name, in the order of the table.
SETTINGS: dict[str, Setting] = declared(Settings)
# Those that name a text file for the audit to read.
LISTS = tuple(name for name, declaration in SETTINGS.items() if declaration.type == "Path | None")
