"""What differs between a protocol and the audit under it, and what became of its statements."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from unveil.analysis.findings import Findings
from unveil.config.settings import Settings
from unveil.embedding.embed import EmbeddedSource
from unveil.embedding.embedder import AuditEmbedder
from unveil.errors import SettingError
from unveil.images import Source
from unveil.planning.fixing import fixed_files, fixed_models, names_sha256
from unveil.planning.protocol import FIXED, FixedInput, FixedModel, Protocol, without_places
from unveil.results import Deviation, FixedBy, PlannedStatement, ProtocolRecord
from unveil.stats.statements import Evidence
from unveil.stats.verdict import blocked
from unveil.types import ROLES, Role

# Characters of a value in a deviation, and of a hash.
MAX_SHOWN, HASH_SHOWN = 80, 16
NOTHING = "nothing"


def deviations_before(
    protocol: Protocol, settings: Settings, sources: Mapping[Role, Source], embedder: AuditEmbedder, started: datetime
) -> tuple[Deviation, ...]:
    """What differs before anything is embedded: settings, files, models, numbers, names and labels of images."""
    facts = settings.facts()
    found: list[Deviation] = []
    for name in FIXED:
        found += _values(name, protocol.settings[name], without_places(name, facts[name]))
    files = fixed_files(settings)
    found += [
        Deviation(name, _file(protocol.files.get(name)), _file(files.get(name)))
        for name in dict.fromkeys((*protocol.files, *files))
        if protocol.files.get(name) != files.get(name)
    ]
    models, detector, copy_model = fixed_models(embedder)
    found += _models("model", protocol.models, models)
    found += _models("detector", [protocol.detector], [detector])
    found += _models("copy model", [protocol.copy_model], [copy_model])
    for role in ROLES:
        found += _sources(role, protocol.inputs.get(role), sources.get(role))
    if datetime.fromisoformat(protocol.made) > started:
        found.append(Deviation("time", f"made before the audit, at {protocol.made}", f"begun {started.isoformat()}"))
    return tuple(found)


def deviations_of_content(
    protocol: Protocol, sets: Mapping[Role, EmbeddedSource], before: Sequence[Deviation]
) -> tuple[Deviation, ...]:
    """What differs in the bytes of images whose names are as planned."""
    named = {deviation.what for deviation in before}
    return tuple(
        Deviation(f"{role} images", _content(planned.content_sha256), _content(sets[role].sha256))
        for role, planned in protocol.inputs.items()
        if planned.content_sha256 is not None
        and role in sets
        and f"{role} images" not in named
        and planned.content_sha256 != sets[role].sha256
    )


def check_deviations(protocol: Protocol, settings: Settings, found: Sequence[Deviation]) -> None:
    """Raises SettingError if anything differs and no reason is given."""
    if not found or settings.deviate is not None:
        return
    shown = "; ".join(f"{d.what}: {d.planned} planned, {d.found} found" for d in found)
    raise SettingError(
        f"--protocol: expected an audit as planned in {settings.protocol}, found {len(found)} "
        f"{'difference' if len(found) == 1 else 'differences'} ({shown}). "
        "Audit as planned, or give a reason with --deviate, which stands in the report"
    )


def record_of(
    protocol: Protocol, deviations: Sequence[Deviation], settings: Settings, found: Findings
) -> ProtocolRecord:
    """The protocol in the result: what was decided, which statements were made, and what differs."""
    inputs: dict[Role, FixedBy] = {
        role: "names" if planned.content_sha256 is None else "content" for role, planned in protocol.inputs.items()
    }
    announced = {one.statement for one in protocol.statements}
    return ProtocolRecord(
        sha256=protocol.sha256,
        made=protocol.made,
        unveil=protocol.unveil,
        inputs=inputs,
        statements=tuple(_outcome(one, found) for one in protocol.statements),
        unplanned=tuple(name for name in found.evidence if name not in announced),
        deviations=tuple(deviations),
        reason=settings.deviate if deviations else None,
    )


def _outcome(planned: PlannedStatement, found: Findings) -> PlannedStatement:
    name = planned.statement
    if name in blocked(found.checks):
        failed = [c for c in found.checks if c.status == "fail" and name in c.invalidates]
        reason = f"the check `{failed[0].name}` failed"
    else:
        reason = _absent(name, found)
    return PlannedStatement(name, planned.level, planned.level_of, not reason, reason or None)


def _absent(name: Evidence, found: Findings) -> str:
    """Why an audit makes no statement that no check blocks; empty if it makes it."""
    calibration, searches, link = found.calibration, found.no_control, found.label_link
    if name == "label link":
        return "" if link is not None and link.p_value is not None else "no labels of the two sets correspond"
    if name in ("global test", "conformal", "GPD tail", "identities", "learned score"):
        if calibration is None:
            return "control people do not calibrate this audit"
        if name == "GPD tail" and calibration.detection_limit.tail is None:
            return "too few control people to fit a tail"
        if name == "learned score" and calibration.learned_score is not None:
            return calibration.learned_score.reason or ""
    if name in ("crowd test", "conformal search", "GPD search"):
        if searches is None:
            return "training people were not searched for among each other"
        if name == "GPD search" and searches.smallest_p_gpd is None:
            return "too few searches to fit a tail"
    return ""


def _values(name: str, planned: Any, used: Any) -> list[Deviation]:
    """The differences of a setting; one for each role if it has a value for each."""
    if isinstance(planned, dict):
        return [d for role in ROLES for d in _values(f"{name} of {role}", planned[role], used[role])]
    return [] if planned == used else [Deviation(name, _value(planned), _value(used))]


def _models(
    what: str, planned: Sequence[FixedModel | None], found: Sequence[FixedModel | None]
) -> tuple[Deviation, ...]:
    keys = [[None if model is None else model.key for model in models] for models in (planned, found)]
    if keys[0] == keys[1]:
        return ()
    return (Deviation(what, _model_names(planned), _model_names(found)),)


def _model_names(models: Sequence[FixedModel | None]) -> str:
    return " and ".join(NOTHING if model is None else model.shown for model in models)


def _sources(role: Role, planned: FixedInput | None, source: Source | None) -> tuple[Deviation, ...]:
    if planned is None and source is None:
        return ()
    what = f"{role} images"
    if planned is None or source is None:
        number = NOTHING if planned is None else f"{planned.images:,} images"
        return (Deviation(what, number, NOTHING if source is None else f"{len(source.records):,} images"),)
    found = names_sha256(source)
    if planned.names_sha256 == found:
        return ()
    labels = len(source.records.people.coded()[0])
    numbers = [
        f"{n:,} images with {m:,} labels, names {digest[:HASH_SHOWN]}"
        for n, m, digest in (
            (planned.images, planned.labels, planned.names_sha256),
            (len(source.records), labels, found),
        )
    ]
    return (Deviation(what, *numbers),)


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."


def _file(sha256: str | None) -> str:
    return NOTHING if sha256 is None else f"a file with SHA-256 {sha256[:HASH_SHOWN]}"


def _content(sha256: str | None) -> str:
    return f"content {str(sha256)[:HASH_SHOWN]}"
