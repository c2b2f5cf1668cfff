"""`audit.json`: the result as plain JSON, described by `audit.schema.json`."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib import resources
from typing import Any

import numpy as np

from unveil.report.text import methods
from unveil.results.audit import AuditResult, Calibration, IdentityFinding

SCHEMA_VERSION = 1
# More than any figure deserves, fewer than BLAS libraries agree on.
DIGITS = 9
# Identities in the document; identities.parquet holds them all.
MAX_IDENTITIES = 10_000


def schema() -> dict[str, Any]:
    """The JSON Schema of `audit.json`."""
    text = (resources.files("unveil.report") / "audit.schema.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def document(result: AuditResult) -> dict[str, Any]:
    """The result as it stands in `audit.json`; no times in it, so that the same audit gives the same bytes."""
    plain: dict[str, Any] = tidy(
        {
            "schema_version": SCHEMA_VERSION,
            "verdict": result.verdict,
            "headline": result.headline,
            "evidence": list(result.evidence),
            "counts": {
                **{role: asdict(c) for role, c in result.counts.items()},
                "pairs_compared": result.pairs_compared,
                "control_pairs_compared": result.control_pairs_compared,
            },
            **_calibrated(result.calibration),
            "candidate_threshold": None if result.candidate_threshold is None else asdict(result.candidate_threshold),
            "people": [asdict(p) for p in result.people],
            "n_synthetic_identities": len(result.synthetic_identities),
            "synthetic_identities": [asdict(i) for i in _foremost(result.synthetic_identities)],
            "top_pairs": [asdict(p) for p in result.top_pairs],
            "top_pairs_corrected": [asdict(p) for p in result.top_pairs_corrected],
            "hubness": [asdict(h) for h in result.hubness],
            "copy_thresholds": None if result.copy_thresholds is None else asdict(result.copy_thresholds),
            "power": None if result.power is None else asdict(result.power),
            "baselines": [asdict(m) for m in result.baselines],
            "verification": [{"role": s.role, **asdict(s.measured)} for s in result.verification],
            "review": None if result.review is None else asdict(result.review),
            "input_checks": [asdict(c) for c in result.input_checks],
            "rejects": [{"role": role, **asdict(r)} for role, rejects in result.rejects.items() for r in rejects],
            "methods": methods(result),
            "limitations": list(result.limitations),
            "channels": list(result.channels),
            "models": list(result.models),
            "manifest": result.manifest,
        }
    )
    return plain


def _calibrated(calibration: Calibration | None) -> dict[str, Any]:
    """What only a control set gives; nothing in its place without one."""
    if calibration is None:
        names = ("global_test", "exposed_people", "detection_limit", "membership", "false_matches", "balance")
        return dict.fromkeys((*names, "strata", "stability"))
    return {
        "global_test": asdict(calibration.decision.global_test),
        "exposed_people": asdict(calibration.exposed),
        "detection_limit": _resolution(calibration),
        "membership": [asdict(m) for m in calibration.membership],
        "false_matches": [asdict(a) for a in calibration.false_matches],
        "balance": asdict(calibration.balance),
        "strata": [asdict(s) for s in calibration.strata],
        "stability": asdict(calibration.stability),
    }


def _foremost(identities: tuple[IdentityFinding, ...]) -> list[IdentityFinding]:
    """All that are listed, and the foremost others: a set without labels has as many identities as pictures."""
    return [i for rank, i in enumerate(identities) if i.significant or rank < MAX_IDENTITIES]


def _resolution(calibration: Calibration) -> dict[str, Any]:
    tail = calibration.decision.tail
    return {
        "smallest_p_conformal": calibration.smallest_p,
        "min_people_conformal": calibration.min_people_conformal,
        "min_identities": calibration.competition.min_significant,
        "tail": None
        if tail is None
        else {
            "threshold": tail.threshold,
            "n_exceedances": tail.n_exceedances,
            "shape": tail.shape,
            "scale": tail.scale,
            "fit_p": tail.fit_p,
            "smallest_p": tail.smallest_p,
            "method": "generalised Pareto, shape >= 0, 95% upper limit by profile likelihood",
        },
    }


def tidy(value: Any) -> Any:
    """Plain JSON values: tuples as lists, numbers rounded, nothing that JSON cannot hold."""
    if isinstance(value, dict):
        return {k: tidy(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [tidy(v) for v in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{float(value):.{DIGITS}g}") if np.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return value
