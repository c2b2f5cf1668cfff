"""Every setting of an audit, typed and checked; the same from Python, flags and TOML."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from unveil.channels import Device
from unveil.compare.backends import BACKENDS
from unveil.engine import LOCAL, check_engine
from unveil.errors import SettingError
from unveil.images.label_rule import LabelRule
from unveil.images.location import Location
from unveil.io.remote import check_address, is_address
from unveil.io.remote_run import local_copy
from unveil.presets import Preset, resolve
from unveil.types import ROLES, Role

Aligned = Literal["auto", "yes", "no"]
MatchSetting = Literal["auto", "on", "off"]
PowerSetting = Literal["full", "quick", "off"]
CHANNELS = ("face", "appearance", "copy")
# More networks than this only cost.
MAX_MODELS = 8


@dataclass(frozen=True)
class Settings:
    """What is audited and how. Everything that can change a number of the result is here."""

    synthetic: Location
    training: Location
    out: Path
    remote_run: str | None = None  # the address where the run is put when it is finished; `out` is its copy here
    control: Location | None = None
    model: tuple[str, ...] = ()  # files or names; several: a pair must convince all of them
    detector: str = "dlib"  # finds the faces in pictures that are no aligned crops; another is a file or a name
    device: Device = "auto"  # where networks run
    channels: tuple[str, ...] = ("face", "appearance")  # what is compared, each by itself
    copy_model: str | None = None  # a copy-detection network, for telling kinds and for the copy channel
    labels: dict[Role, LabelRule] = field(default_factory=dict)
    aligned: dict[Role, Aligned] = field(default_factory=dict)
    fdr: float = 0.05  # false discovery rate at which people and identities are listed
    global_level: float = 0.01  # level of the test of "no leak at all"
    fpir: float = 0.01  # of the line used when there is no control set
    top_k: int = 10
    top_pairs: int = 100
    cohort_share: float = 0.2  # of the control people, kept for the hub correction
    match_controls: MatchSetting = (
        "auto"  # control people to training people by what foretells exposure; auto: where they differ
    )
    exclude: Path | None = None  # a list of synthetic pictures, an id a line, that count as not being in the set
    strata: Path | None = None  # lines `person label`: only people of one label are compared with each other
    resamples: int = 20  # of pictures and people, to show how much the findings depend on them
    planted_leaks: PowerSetting = "full"
    seed: int = 0
    follow_links: bool = False
    engine: str = LOCAL  # which machines work
    backend: str = "auto"
    workers: int = 0  # 0: one a core
    store: str | None = None  # a folder or an address

    def __post_init__(self) -> None:
        for name, low, high in (("fdr", 0, 0.5), ("global_level", 0, 0.5), ("fpir", 0, 0.5), ("cohort_share", 0, 0.9)):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not low < value <= high:
                raise SettingError(f"{name} should be a number above {low} and at most {high}, got {value!r}")
        for name, low in (("top_k", 1), ("top_pairs", 1), ("seed", 0), ("workers", 0), ("resamples", 1)):
            value = getattr(self, name)
            if type(value) is not int or value < low:
                raise SettingError(f"{name} should be a whole number of at least {low}, got {value!r}")
        for role, value in self.aligned.items():
            if role not in ROLES or value not in get_args(Aligned):
                raise SettingError(f"aligned should be auto, yes or no, alone or as ROLE=..., got {role}={value}")
        choices = (
            ("match_controls", get_args(MatchSetting)),
            ("planted_leaks", get_args(PowerSetting)),
            ("device", get_args(Device)),
        )
        for name, known in choices:
            if getattr(self, name) not in known:
                raise SettingError(f"{name} should be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if len(self.model) > MAX_MODELS or len(set(self.model)) < len(self.model):
            raise SettingError(f"model should name at most {MAX_MODELS} different networks, got {len(self.model)}")
        if "face" not in self.channels or set(self.channels) - set(CHANNELS):
            raise SettingError(
                f"channels should be face, and with it any of {', '.join(CHANNELS[1:])}, got {', '.join(self.channels)}"
            )
        if "copy" in self.channels and self.copy_model is None:
            raise SettingError("the copy channel needs a copy-detection network: --copy-model")
        check_engine(self.engine)
        if self.backend not in BACKENDS:
            raise SettingError(f"backend should be one of {', '.join(BACKENDS)}, got {self.backend!r}")

        for role in ROLES:
            source = self.source(role)
            for name, place in (("-o", str(self.out)), ("--store", self.store_place)):
                folder = Path(place)
                if source is None or source.remote or is_address(place):
                    continue
                if folder.resolve().is_relative_to(source.path.resolve()):
                    raise SettingError(
                        f"{name} {folder} lies inside the {role} pictures ({source}): what is written there would be "
                        "read as pictures; name a folder outside"
                    )

    def source(self, role: Role) -> Location | None:
        """Where the pictures of a role are."""
        return {"synthetic": self.synthetic, "training": self.training, "control": self.control}[role]

    @property
    def store_place(self) -> str:
        """Where embeddings are kept for the next audit: as set, else UNVEIL_STORE, else beside the run."""
        return self.store or os.environ.get("UNVEIL_STORE") or self._store_beside()

    def _store_beside(self) -> str:
        if self.remote_run is not None:
            return self.remote_run.rstrip("/").rpartition("/")[0] + "/unveil-store"
        return str(self.out.absolute().parent / "unveil-store")

    def random(self, purpose: str) -> np.random.Generator:
        """A generator of its own for each purpose, so that adding one never changes another's draws."""
        return np.random.default_rng([self.seed, *purpose.encode()])

    def facts(self) -> dict[str, Any]:
        """The settings that decide the result, as they stand in the manifest; not where it is put or how fast."""
        return {
            "synthetic": str(self.synthetic),
            "training": str(self.training),
            "control": None if self.control is None else str(self.control),
            "model": list(self.model),
            "detector": self.detector,
            "channels": list(self.channels),
            "copy_model": self.copy_model,
            "labels": {role: str(self.labels.get(role, LabelRule())) for role in ROLES},
            "aligned": {role: self.aligned.get(role, "auto") for role in ROLES},
            "fdr": self.fdr,
            "global_level": self.global_level,
            "fpir": self.fpir,
            "top_k": self.top_k,
            "top_pairs": self.top_pairs,
            "cohort_share": self.cohort_share,
            "match_controls": self.match_controls,
            "exclude": None if self.exclude is None else str(self.exclude),
            "strata": None if self.strata is None else str(self.strata),
            "resamples": self.resamples,
            "planted_leaks": self.planted_leaks,
            "seed": self.seed,
            "follow_links": self.follow_links,
        }


def parse_aligned(text: str) -> dict[Role, Aligned]:
    """``yes`` for all roles, or ``synthetic=yes,training=no``; SettingError for anything else."""
    parts = text.split(",")
    pairs = [tuple(p.split("=", 1)) for p in parts] if "=" in text else [(role, text) for role in ROLES]
    if any(len(p) != 2 for p in pairs):
        raise SettingError(f"--aligned {text!r}: use auto, yes or no, or for example synthetic=yes,training=no")
    return {p[0].strip(): p[1].strip() for p in pairs}  # type: ignore[misc]


def settings_from(values: Mapping[str, Any]) -> Settings:
    """Settings from plain values (TOML, flags, keyword arguments); unknown names and wrong types are SettingErrors."""
    known = {f.name for f in dataclasses.fields(Settings)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise SettingError(f"unknown setting {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    missing = [name for name in ("synthetic", "training", "out") if values.get(name) is None]
    if missing:
        flags = {"synthetic": "--synthetic SYN", "training": "--training REAL", "out": "-o RUN"}
        raise SettingError(
            f"an audit needs {', '.join(flags.values())} (or the same in a settings file); "
            f"missing: {', '.join(flags[name] for name in missing)}"
        )
    clean: dict[str, Any] = {k: v for k, v in values.items() if v is not None}
    models = clean.get("model", ())
    models = [models] if isinstance(models, (str, Path)) else models
    if not isinstance(models, (list, tuple)) or not all(isinstance(m, (str, Path)) for m in models):
        raise SettingError(f"model should be a file or a name, or a list of them, got {models!r}")
    clean["model"] = tuple(str(m) for m in models)
    for name in ("detector", "copy_model"):
        if name in clean:
            if not isinstance(clean[name], (str, Path)):
                raise SettingError(f"{name} should be a file or a name, got {clean[name]!r}")
            clean[name] = str(clean[name])
    channels = clean.get("channels", Settings.channels)
    channels = channels.split(",") if isinstance(channels, str) else channels
    if not isinstance(channels, (list, tuple)) or not all(isinstance(c, str) for c in channels):
        raise SettingError(f"channels should be names, as in face,appearance, got {channels!r}")
    # In one order, whatever order they are given in.
    named = [c.strip() for c in channels]
    clean["channels"] = (*(c for c in CHANNELS if c in named), *(c for c in named if c not in CHANNELS))
    if "store" in clean:
        if not isinstance(clean["store"], (str, Path)):
            raise SettingError(f"store should be a path or an address, got {clean['store']!r}")
        clean["store"] = str(clean["store"])
        if is_address(clean["store"]):
            check_address(str(clean["store"]))
    if isinstance(clean.get("out"), str) and is_address(clean["out"]):
        clean["remote_run"] = check_address(str(clean["out"]))
        clean["out"] = local_copy(clean["remote_run"])
    for name in ("strata", "exclude", "out"):
        if name in clean:
            if not isinstance(clean[name], (str, Path)):
                raise SettingError(f"{name} should be a path, got {clean[name]!r}")
            clean[name] = Path(clean[name])
    known_of: dict[Role, Preset] = {}
    for role in ROLES:
        if role in clean:
            if not isinstance(clean[role], (str, Path)):
                raise SettingError(f"{role} should be a path, got {clean[role]!r}")
            clean[role], preset = resolve(str(clean[role]))
            if preset is not None and preset.established:
                known_of[role] = preset
    if isinstance(clean.get("aligned"), str):
        clean["aligned"] = parse_aligned(clean["aligned"])
    if "labels" in clean:
        rules = clean["labels"]
        if isinstance(rules, str):
            rules = dict.fromkeys(ROLES, rules)
        if not isinstance(rules, Mapping) or set(rules) - set(ROLES):
            raise SettingError(f"labels should be a rule, or a rule for each of {', '.join(ROLES)}, got {rules!r}")
        clean["labels"] = {r: v if isinstance(v, LabelRule) else LabelRule.parse(str(v)) for r, v in rules.items()}
    # What a preset knows counts where nothing is said.
    for role, preset in known_of.items():
        if preset.labels is not None:
            clean["labels"] = {role: LabelRule.parse(preset.labels), **clean.get("labels", {})}
        if preset.aligned is not None:
            clean["aligned"] = {role: preset.aligned, **clean.get("aligned", {})}
    return Settings(**clean)


def read_toml(path: Path) -> dict[str, Any]:
    """The settings in a TOML file, unchecked; SettingError when it cannot be read."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingError(f"{path}: not a readable TOML file ({error})") from None
