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

from unveil.analysis import calibrated, uncalibrated
from unveil.analysis.baselines import measure_baselines
from unveil.analysis.comparisons import (
    FIRST_CHANNEL,
    Comparison,
    Comparisons,
    open_audit_backend,
    remove_tiles,
)
from unveil.analysis.input_checks import check_inputs
from unveil.analysis.leak_kinds import classify_pairs
from unveil.analysis.power import measure_power
from unveil.analysis.rankings import count_images, hubness_ranking, top_pairs, top_pairs_corrected
from unveil.analysis.review_pairs import review_pairs
from unveil.analysis.verification import measure_verification
from unveil.config.settings import Settings, settings_from
from unveil.embedding.embed import EmbeddedSource
from unveil.embedding.embedder import AuditEmbedder
from unveil.embedding.images import ImageReader
from unveil.engine import Engine, open_engine
from unveil.images import open_source
from unveil.io.host import cores
from unveil.io.remote_run import RemoteRun
from unveil.io.run_directory import RunDirectory
from unveil.planning import whole_run
from unveil.progress import Progress, Silent
from unveil.report import text as words
from unveil.report import write_reports
from unveil.results.audit import AuditResult
from unveil.review import review_summary
from unveil.runs.finished import write_run
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
    arguments are the fields of `unveil.config.settings.Settings`. Raises InputError for input that cannot be used.
    """
    values = {"synthetic": synthetic, "training": training, "control": control, "out": out, **settings}
    return run_audit(settings_from(values), progress or Silent(), redact=redact)


def run_audit(settings: Settings, progress: Progress, *, redact: bool = False) -> AuditResult:
    """The audit of `audit`, for checked settings."""
    with open_engine(settings.engine, progress) as engine:
        return _audit(settings, progress, engine, redact)


def _audit(settings: Settings, progress: Progress, engine: Engine | None, redact: bool) -> AuditResult:
    started = datetime.now(UTC)
    remote = None if settings.remote_run is None else RemoteRun(settings.remote_run)
    if remote is not None:
        remote.pull("manifest.json")
    sources = {
        role: open_source(place, settings.labels.get(role), follow_links=settings.follow_links)
        for role in ROLES
        if (place := settings.source(role)) is not None
    }
    channels = AuditEmbedder(settings, sources, progress, engine)
    run = RunDirectory(settings.out, settings.facts())
    run.begin()
    backend = open_audit_backend(settings.backend, settings.workers, engine, settings.store_place, run)
    compare = Comparisons(run, backend, progress, settings.top_k, settings.top_pairs)

    progress.expect(whole_run(settings, sources, channels))
    sets = channels.embed_roles(sources, run)
    images = {
        role: ImageReader(sources[role], s.embedded.distinct, channels.preprocessor(s.alignment))
        for role, s in sets.items()
    }
    # A file that is shipped several times is one picture.
    synthetic, training = images["synthetic"].embedded, sets["training"].embedded
    checks = check_inputs(sets, settings.random("hygiene"))

    # The published attack: every pair, ranked by cosine.
    raw = compare.ranked(Comparison("cosine", FIRST_CHANNEL, "training"), synthetic, training)
    # What goes past it: the same pairs against what chance does.
    if "control" in sets:
        found = calibrated.analyse_with_control(
            synthetic, training, sets["control"].embedded, raw, checks, compare, settings
        )
    else:
        found = uncalibrated.analyse_without_control(synthetic, training, raw, checks, compare, settings)
    if found.verdict == "inconclusive":
        found = found.without_findings()

    # What kind of leak each finding is, and which leaks would have been found.
    top = top_pairs(raw, synthetic, training, settings.top_pairs)
    alike = (images["synthetic"], images["training"], channels.copy_channel)
    kinds = classify_pairs((*found.significant_people, *top), *alike, settings, progress)
    power = measure_power(found, images, channels.temporary_embedder(run), settings)
    # What others would measure, beside it.
    others = measure_baselines(synthetic, found, settings, backend)

    result = AuditResult(
        verdict=found.verdict,
        headline="",
        evidence=found.evidence,
        counts={role: count_images(s) for role, s in sets.items()},
        pairs_compared=raw.n_compared,
        control_pairs_compared=found.control_pairs,
        calibration=found.calibration,
        candidate_threshold=found.line,
        people=kinds.mark(found.people),
        synthetic_identities=found.identities,
        top_pairs=kinds.mark(top),
        top_pairs_corrected=top_pairs_corrected(found.training, synthetic, settings.top_pairs),
        hubness=hubness_ranking(raw, training, settings.top_pairs),
        power=power,
        baselines=others,
        verification=measure_verification(sets, settings),
        copy_thresholds=kinds.lines,
        input_checks=found.checks,
        rejects={role: s.rejects for role, s in sets.items()},
        limitations=(),
        channels=synthetic.channels,
        models=channels.model_facts,
        manifest=_manifest(settings, sets, channels),
    )
    result = words.with_text(result, settings)
    pairs = review_pairs(result, found, synthetic)
    write_run(run.path, result, pairs, sets, synthetic, found, channels, settings)
    reviewed = replace(result, review=review_summary(run.path, pairs))
    write_reports(reviewed, run.path, raw, synthetic, training, sources, redact=redact)
    remove_tiles(engine, settings.store_place, run)
    finished = datetime.now(UTC)
    run.finish(
        {
            **result.manifest,
            "started": started.isoformat(timespec="seconds"),
            "finished": finished.isoformat(timespec="seconds"),
            "seconds": round((finished - started).total_seconds(), 1),
        }
    )
    if remote is not None:
        remote.push()
    return reviewed


def _manifest(settings: Settings, sets: dict[Role, EmbeddedSource], channels: AuditEmbedder) -> dict[str, Any]:
    """What another needs to repeat the audit: inputs with hashes, settings, versions, machine."""
    return {
        "settings": settings.facts(),
        "inputs": {
            role: {
                "path": str(settings.source(role)),
                "kind": s.kind,
                "images": s.n_images,
                "sha256": s.sha256,
                "identity": s.label_rule,
                "aligned": s.alignment.key,
                "aligned_because": s.alignment.reason,
            }
            for role, s in sets.items()
        },
        "files": {
            **(
                {}
                if settings.exclude is None
                else {"without": hashlib.sha256(settings.exclude.read_bytes()).hexdigest()}
            ),
            **({} if settings.strata is None else {"strata": hashlib.sha256(settings.strata.read_bytes()).hexdigest()}),
            **({} if channels.copy_channel is None else {"copy_model": channels.copy_channel.spec.sha256}),
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
