"""The whole audit on one page: does a synthetic face set reproduce people its generator was trained on?

Read `run_audit` from top to bottom; each line names the room that does the work.
"""

from __future__ import annotations

import hashlib
import platform
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from unveil import words
from unveil.config import Settings, settings_from
from unveil.engine import Engine, open_engine
from unveil.finished import keep
from unveil.images import open_source
from unveil.machine import cores
from unveil.planning import whole_run
from unveil.progress import Progress, Silent
from unveil.published import Published
from unveil.report import write_reports
from unveil.result import AuditResult
from unveil.review import outcome_of
from unveil.run import RunDirectory
from unveil.steps import calibrated, uncalibrated
from unveil.steps.after import pairs_to_look_at
from unveil.steps.channels import Channels
from unveil.steps.check import check_inputs
from unveil.steps.comparer import Comparer
from unveil.steps.embed import EmbeddedSource
from unveil.steps.kinds import tell_kinds
from unveil.steps.measures import measure_others
from unveil.steps.pictures import Pictures
from unveil.steps.power import measure_power
from unveil.steps.separation import measure_separation
from unveil.steps.tables import closest_pairs, count, hubs, top_pairs
from unveil.types import ROLES, Role

# What can change a number of the result.
VERSIONS = ("unveil", "numpy", "scipy", "onnxruntime", "pillow", "opencv-python-headless", "dlib-bin", "imagehash")


def audit(
    synthetic: str | Path,
    training: str | Path,
    control: str | Path | None = None,
    *,
    out: str | Path,
    progress: Progress | None = None,
    redact: bool = False,
    **settings: Any,
) -> AuditResult:
    """Audits the pictures in ``synthetic`` for people in ``training``, calibrated on people in ``control``.

    Writes a run directory to ``out`` and returns the result; run again after a kill, it resumes. Further keyword
    arguments are the fields of `unveil.config.Settings`. Raises InputError for input that cannot be used.
    """
    values = {"synthetic": synthetic, "training": training, "control": control, "out": out, **settings}
    return run_audit(settings_from(values), progress or Silent(), redact=redact)


def run_audit(settings: Settings, progress: Progress, *, redact: bool = False) -> AuditResult:
    """The audit of `audit`, for checked settings."""
    with open_engine(settings.engine, progress) as engine:
        return _audit(settings, progress, engine, redact)


def _audit(settings: Settings, progress: Progress, engine: Engine | None, redact: bool) -> AuditResult:
    started = datetime.now(UTC)
    published = None if settings.published is None else Published(settings.published, progress.say)
    if published is not None:
        published.pull("manifest.json")
    sources = {
        role: open_source(place, settings.identity.get(role), follow_links=settings.follow_links)
        for role in ROLES
        if (place := settings.source(role)) is not None
    }
    channels = Channels(settings, sources, progress, engine)
    run = RunDirectory(settings.out, settings.facts())
    compare = Comparer(run, settings, progress, engine)

    progress.expect(whole_run(settings, sources, channels))
    sets = channels.embed_roles(sources, run)
    pictures = {
        role: Pictures(sources[role], s.embedded.distinct, channels.way(s.alignment)) for role, s in sets.items()
    }
    # A file that is shipped several times is one picture.
    synthetic, training = pictures["synthetic"].embedded, sets["training"].embedded
    checks = check_inputs(sets, settings.random("hygiene"))

    # The published attack: every pair, ranked by cosine.
    raw = compare.ranked("synthetic with training", synthetic, training)
    # What goes past it: the same pairs against what chance does.
    if "control" in sets:
        found = calibrated.judge(synthetic, training, sets["control"].embedded, raw, checks, compare, settings)
    else:
        found = uncalibrated.judge(synthetic, training, raw, checks, compare, settings)
    if found.verdict == "inconclusive":
        found = found.without_findings()

    # What kind of leak each finding is, and which leaks would have been found.
    top = top_pairs(raw, synthetic, training, settings.top_pairs)
    alike = (pictures["synthetic"], pictures["training"], channels.copies)
    kinds = tell_kinds((*found.listed_people, *top), *alike, settings, progress)
    power = measure_power(found, pictures, channels.embedder(run), settings)
    # What others would measure, beside it.
    others = measure_others(synthetic, found, settings, compare.comparator)

    result = AuditResult(
        verdict=found.verdict,
        headline="",
        rests_on=found.rests_on,
        counts={role: count(s) for role, s in sets.items()},
        pairs_compared=raw.n_compared,
        control_pairs_compared=found.control_pairs,
        calibration=found.calibration,
        candidate_line=found.line,
        people=kinds.mark(found.people),
        identities=found.identities,
        top_pairs=kinds.mark(top),
        top_pairs_corrected=closest_pairs(found.training, synthetic, settings.top_pairs),
        hubs=hubs(raw, training, settings.top_pairs),
        power=power,
        measures=others,
        separation=measure_separation(sets, settings),
        copy_lines=kinds.lines,
        hygiene=found.checks,
        rejects={role: s.rejects for role, s in sets.items()},
        limits=(),
        channels=synthetic.channels,
        models=channels.facts,
        manifest=_manifest(settings, sets, channels),
    )
    result = words.told(result, settings)
    pairs = pairs_to_look_at(result, found, synthetic)
    keep(run.path, result, pairs, sets, synthetic, found, channels, settings)
    reviewed = replace(result, review=outcome_of(run.path, pairs))
    write_reports(reviewed, run.path, raw, synthetic, training, sources, redact=redact)
    compare.done()
    finished = datetime.now(UTC)
    run.finish(
        {
            **result.manifest,
            "started": started.isoformat(timespec="seconds"),
            "finished": finished.isoformat(timespec="seconds"),
            "seconds": round((finished - started).total_seconds(), 1),
        }
    )
    if published is not None:
        progress.say(f"{published.push()} files put to {settings.published}; a copy is in {run.path}")
    return reviewed


def _manifest(settings: Settings, sets: dict[Role, EmbeddedSource], channels: Channels) -> dict[str, Any]:
    """What another needs to repeat the audit: inputs with hashes, settings, versions, machine."""
    return {
        "settings": settings.facts(),
        "inputs": {
            role: {
                "path": str(settings.source(role)),
                "kind": s.kind,
                "images": s.n_images,
                "sha256": s.sha256,
                "identity": s.identity_rule,
                "aligned": s.alignment.key,
                "aligned_because": s.alignment.why,
            }
            for role, s in sets.items()
        },
        "files": {
            **(
                {}
                if settings.without is None
                else {"without": hashlib.sha256(settings.without.read_bytes()).hexdigest()}
            ),
            **({} if settings.strata is None else {"strata": hashlib.sha256(settings.strata.read_bytes()).hexdigest()}),
            **({} if channels.copies is None else {"copy_model": channels.copies.spec.sha256}),
        },
        "detector": channels.detector,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "cores": cores(),
            "networks": channels.runs_on,
        },
    }
