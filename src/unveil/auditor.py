"""The whole audit on one page: does a synthetic face set reproduce people its generator was trained on?

Read `run_audit` from top to bottom; each line names the room that does the work.
"""

from __future__ import annotations

import platform
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from unveil import words
from unveil.channels import FaceChannel
from unveil.config import Settings, settings_from
from unveil.images import Source, open_source
from unveil.machine import cores
from unveil.progress import Progress, Silent
from unveil.report import write_reports
from unveil.result import AuditResult, HubFinding, PairFinding, RoleCounts
from unveil.run import RunDirectory
from unveil.stats.hubs import find_hubs
from unveil.steps import calibrated, uncalibrated
from unveil.steps.check import check_inputs
from unveil.steps.comparer import Comparer
from unveil.steps.embed import EmbeddedSource, embed_source
from unveil.steps.findings import Findings
from unveil.types import ROLES, Embedded, Matches, Role


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
    started = datetime.now(UTC)
    sources = {
        role: open_source(path, settings.identity.get(role), follow_links=settings.follow_links)
        for role in ROLES
        if (path := settings.source(role)) is not None
    }
    channel = FaceChannel(settings.model)
    run = RunDirectory(settings.out, settings.facts())
    compare = Comparer(run, settings, progress)

    sets = {role: _embed(role, source, channel, run, settings, progress) for role, source in sources.items()}
    synthetic, training = sets["synthetic"].embedded, sets["training"].embedded
    checks = check_inputs(sets, settings.random("hygiene"))

    # The published attack: every pair, ranked by cosine.
    raw = compare.ranked("synthetic with training", synthetic, training)
    # What goes past it: the same pairs against what chance does.
    if "control" in sets:
        found = calibrated.judge(synthetic, training, sets["control"].embedded, raw, checks, compare, settings)
    else:
        found = uncalibrated.judge(synthetic, training, checks, compare, settings)

    result = _result(found, raw, sets, channel, settings)
    write_reports(result, run.path, raw, synthetic, training, sources, redact=redact)
    finished = datetime.now(UTC)
    run.finish(
        {
            **result.manifest,
            "started": started.isoformat(timespec="seconds"),
            "finished": finished.isoformat(timespec="seconds"),
            "seconds": round((finished - started).total_seconds(), 1),
        }
    )
    return result


def _result(
    found: Findings, raw: Matches, sets: dict[Role, EmbeddedSource], channel: FaceChannel, settings: Settings
) -> AuditResult:
    """Everything in one record. A run without a verdict lists nobody."""
    synthetic, training = sets["synthetic"].embedded, sets["training"].embedded
    people, identities = found.people, found.identities
    if found.verdict == "inconclusive":
        people = tuple(replace(person, listed_by=()) for person in people)
        identities = tuple(replace(identity, listed=False) for identity in identities)
    counts = {role: _count(s) for role, s in sets.items()}
    model = {**asdict(channel.spec), "model_id": channel.model_id}
    return AuditResult(
        verdict=found.verdict,
        headline=words.headline(
            found.verdict,
            found.rests_on,
            people,
            identities,
            found.calibration,
            found.line,
            found.checks,
            settings,
            identities_are="pictures" if counts["synthetic"].unlabelled else "identities",
        ),
        rests_on=found.rests_on,
        counts=counts,
        pairs_compared=raw.n_compared,
        control_pairs_compared=found.control_pairs,
        calibration=found.calibration,
        candidate_line=found.line,
        people=people,
        identities=identities,
        top_pairs=_pairs(raw, synthetic, training),
        top_pairs_corrected=_pairs(found.corrected, synthetic, training),
        hubs=_hubs(raw, training),
        hygiene=found.checks,
        rejects={role: s.rejects for role, s in sets.items()},
        limits=words.limits(counts, found.calibration, found.line, len(training), model, settings),
        model=model,
        manifest=_manifest(settings, sets),
    )


def _embed(
    role: Role, source: Source, channel: FaceChannel, run: RunDirectory, settings: Settings, progress: Progress
) -> EmbeddedSource:
    return embed_source(
        source,
        channel,
        settings.store_folder,
        run.vectors(role),
        aligned=settings.aligned.get(role, "auto"),
        workers=settings.workers,
        label=role,
        progress=progress,
    )


def _count(embedded: EmbeddedSource) -> RoleCounts:
    pictures = embedded.embedded
    return RoleCounts(
        images=embedded.n_images,
        embedded=len(pictures),
        rejected=len(embedded.rejects),
        people=len(set(pictures.people_or_ids)),
        unlabelled=sum(person is None for person in pictures.people),
    )


def _pairs(matches: Matches, synthetic: Embedded, training: Embedded) -> tuple[PairFinding, ...]:
    """The ranking of the closest pairs."""
    people = training.people_or_ids
    return tuple(
        PairFinding(rank, synthetic.ids[q], training.ids[g], people[g], float(cosine), float(score))
        for rank, ((q, g), cosine, score) in enumerate(
            zip(matches.top_pairs, matches.top_pairs_cosine, matches.top_pairs_score, strict=True), start=1
        )
    )


def _hubs(matches: Matches, training: Embedded) -> tuple[HubFinding, ...]:
    people = training.people_or_ids
    return tuple(
        HubFinding(training.ids[h.row], people[h.row], h.n_best_match_of, h.in_top_pairs)
        for h in find_hubs(matches.rows[:, 0], matches.top_pairs[:, 1], len(training))
    )


def _manifest(settings: Settings, sets: dict[Role, EmbeddedSource]) -> dict[str, Any]:
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
        "versions": {
            "unveil": version("unveil"),
            "python": platform.python_version(),
            **{
                name: version(name)
                for name in ("numpy", "scipy", "onnxruntime", "pillow", "opencv-python-headless", "dlib-bin")
            },
        },
        "machine": {"system": platform.platform(), "processor": platform.machine(), "cores": cores()},
    }
