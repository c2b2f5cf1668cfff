"""The settings of an overlap: two sets, the threshold from which people match, and settings that an audit has too."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from unveil.choices import ALIGNED, SET_NAMES, Aligned, Device, SetName
from unveil.config.parsing import parse, with_defaults
from unveil.config.settings import store_of
from unveil.errors import SettingError
from unveil.images.label_rule import LabelRule
from unveil.images.location import Location
from unveil.io.remote import is_address
from unveil.presets import resolve

# Settings that mean the same as in an audit.
COMMON = (
    *("model", "detector", "follow_links", "fdr", "top_pairs", "seed"),
    *("store", "trust_store", "device", "backend", "engine", "workers"),
)
_RATE = re.compile(r"fmr:(\d*\.?\d+(?:e-?\d+)?)")


@dataclass(frozen=True)
class ThresholdRule:
    """From which cosine two people match: ``significant`` (by ``--fdr``), a false match rate, or the cosine itself."""

    kind: Literal["significant", "fmr", "cosine"] = "significant"
    value: float = 0.0

    @classmethod
    def parse(cls, text: str) -> ThresholdRule:
        """The rule from its command-line form. Raises SettingError for any other text."""
        rate = _RATE.fullmatch(text)
        if text == "significant":
            return cls()
        if rate is not None and 0 < float(rate[1]) < 1:
            return cls("fmr", float(rate[1]))
        try:
            cosine = float(text) if rate is None else math.nan
        except ValueError:
            cosine = math.nan
        if not -1 <= cosine <= 1:
            raise SettingError(
                "threshold: expected significant, fmr:RATE (such as fmr:1e-6) or a cosine from -1 to 1, found "
                f"{text!r}. Leave --threshold out to use significant"
            )
        return cls("cosine", cosine)

    def __str__(self) -> str:
        if self.kind == "significant":
            return self.kind
        return f"fmr:{self.value!r}" if self.kind == "fmr" else repr(self.value)


@dataclass(frozen=True)
class OverlapSettings:
    """The settings of one overlap."""

    locations: dict[SetName, Location]
    out: Path
    threshold: ThresholdRule
    labels: dict[SetName, LabelRule]
    aligned: dict[SetName, Aligned]
    model: str | None
    detector: str
    follow_links: bool
    fdr: float
    top_pairs: int
    seed: int
    store: str | None
    trust_store: bool
    device: Device
    backend: str
    engine: str
    workers: int

    @property
    def exclusions(self) -> dict[SetName, Path]:
        """No image is left out."""
        return {}

    @property
    def file_names(self) -> tuple[str | Path | None, ...]:
        """The values that can name a file to read besides images and models: labels."""
        return tuple(rule.argument for rule in self.labels.values() if rule.kind == "list")

    @property
    def model_names(self) -> tuple[str | None, ...]:
        """The values that name a model or its file."""
        return (self.detector, self.model)

    @property
    def store_place(self) -> str:
        """Where embeddings are stored for the next time."""
        return store_of(self.store, self.out)

    def facts(self) -> dict[str, Any]:
        """The settings that can change the result, as plain values for the manifest."""
        return {
            **{name: str(location) for name, location in self.locations.items()},
            "threshold": str(self.threshold),
            "labels": {name: str(self.labels.get(name, "auto")) for name in SET_NAMES},
            "aligned": {name: self.aligned.get(name, "auto") for name in SET_NAMES},
            **{name: getattr(self, name) for name in ("model", "detector", "follow_links", "fdr", "top_pairs", "seed")},
        }


def overlap_settings(
    a: str | Path,
    b: str | Path,
    out: str | Path,
    *,
    threshold: str | float = "significant",
    labels: str | Mapping[SetName, str] | None = None,
    aligned: str | Mapping[SetName, str] | None = None,
    **common: Any,
) -> OverlapSettings:
    """The settings of an overlap from plain values; those of ``common`` that are None have their defaults.

    ``labels`` and ``aligned`` are one value for both sets, or one for each. Raises SettingError for unknown names and
    for values that cannot be used.
    """
    unknown = sorted(set(common) - set(COMMON))
    if unknown:
        raise SettingError(f"unknown setting {', '.join(unknown)}; known are {', '.join(sorted(COMMON))}")
    if isinstance(common.get("model"), (list, tuple)):
        raise SettingError("model: expected the name or file of one model, found several. Name one")
    if is_address(str(out)):
        raise SettingError(f"-o: expected a folder on this machine, found the address {out}. Name a folder")
    parsed = with_defaults(parse({**common, "out": out}))
    locations: dict[SetName, Location] = {}
    rules, crops = _by_set("labels", labels), _by_set("aligned", aligned)
    given: dict[SetName, str] = {"A": str(a), "B": str(b)}
    for name, place in given.items():
        if not place.strip() or "\0" in place:
            raise SettingError(f"{name}: expected a path, an address or PRESET:PATH, found {place!r}. Name a set")
        locations[name], preset = resolve(place)
        if preset is not None and preset.established:
            for known, value in ((rules, preset.labels), (crops, preset.aligned)):
                if value is not None:
                    known.setdefault(name, value)
    return OverlapSettings(
        locations=locations,
        threshold=ThresholdRule.parse(str(threshold)),
        labels={name: LabelRule.parse(rule) for name, rule in rules.items()},
        aligned={name: _aligned(crop) for name, crop in crops.items()},
        model=next(iter(parsed["model"]), None),
        **{name: parsed[name] for name in ("out", *COMMON) if name != "model"},
    )


def _by_set(name: str, value: object) -> dict[SetName, str]:
    """One value for each set, from one for both or a mapping."""
    if value is None:
        return {}
    given = dict.fromkeys(SET_NAMES, value) if not isinstance(value, Mapping) else dict(value)
    if set(given) - set(SET_NAMES) or not all(isinstance(one, (str, LabelRule)) for one in given.values()):
        raise SettingError(f"{name}: expected one value, or one for each of A and B, found {value!r}")
    return {one: str(given[one]) for one in SET_NAMES if one in given}


def _aligned(text: str) -> Aligned:
    for one in ALIGNED:
        if text == one:
            return one
    raise SettingError(f"aligned: expected one of {', '.join(ALIGNED)}, found {text!r}. Leave it out for auto")
