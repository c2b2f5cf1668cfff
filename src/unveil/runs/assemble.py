"""The result of an audit from what its stages give, with its text, and the manifest."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from unveil.analysis.findings import Findings
from unveil.analysis.leak_kinds import LeakKinds
from unveil.analysis.rankings import count_images, hubness_ranking
from unveil.analysis.risks import highest_risk, measure_risks
from unveil.config.settings import LISTS, Settings
from unveil.embedding.embed import EmbeddedSource
from unveil.embedding.embedder import AuditEmbedder
from unveil.images import Location
from unveil.io.host import cores
from unveil.report.text import headline, limitations, methods
from unveil.results import (
    AuditResult,
    Baselines,
    InputFacts,
    MachineFacts,
    Manifest,
    PairFinding,
    Power,
    ProtocolRecord,
    Review,
    VerificationPerformance,
    plain,
    shortened,
)
from unveil.runs.versions import software_versions
from unveil.stats.list_errors import expected_false
from unveil.stats.next_step import next_step
from unveil.types import Embedded, Matches, Role


@dataclass(frozen=True)
class AuditParts:
    """What the stages of an audit give: embedded sets, raw matches, findings, kinds of leak, rankings, power, baselines
    and verification performance."""

    sets: Mapping[Role, EmbeddedSource]
    synthetic: Embedded
    raw: Matches
    found: Findings
    kinds: LeakKinds
    top_pairs: tuple[PairFinding, ...]
    top_pairs_corrected: tuple[PairFinding, ...]
    power: Power | None
    baselines: tuple[Baselines, ...]
    verification: tuple[VerificationPerformance, ...]


def assemble(
    parts: AuditParts,
    settings: Settings,
    embedder: AuditEmbedder,
    review: Review | None,
    protocol: ProtocolRecord | None = None,
) -> AuditResult:
    """The result: every number, the text that reports them, and the manifest."""
    found, sets = parts.found, parts.sets
    people, counts = parts.kinds.mark(found.people), {role: count_images(s) for role, s in sets.items()}
    manifest = manifest_of(settings, sets, embedder)
    models: tuple[Any, ...] = tuple(plain(facts) for facts in embedder.model_facts)
    return AuditResult(
        verdict=found.verdict,
        headline=headline(
            *(found.verdict, found.evidence),
            checks=found.checks,
            calibration=found.calibration,
            no_control=found.no_control,
            copies=found.copies,
            link=found.label_link,
            people=people,
            identities=found.identities,
            synthetic_labelled=not counts["synthetic"].unlabelled,
            power=parts.power,
            fdr=settings.fdr,
            counts=counts,
        ),
        evidence=found.evidence,
        expected_false_people=None
        if all(p.q is None for p in people)
        else expected_false(settings.fdr, [p.significant_by for p in people]),
        expected_false_identities=None if found.identities.q is None else settings.fdr * found.identities.n_significant,
        next_step=next_step(
            *(found.verdict, found.checks),
            has_control="control" in sets,
            training_labelled=counts["training"].unlabelled < counts["training"].embedded,
        ),
        privacy_risks=measure_risks(found),
        highest_individual_risk=highest_risk(found),
        counts=counts,
        pairs_compared=parts.raw.n_compared,
        control_pairs_compared=found.control_pairs,
        no_control=found.no_control,
        copies=found.copies,
        label_link=None if found.label_link is None else shortened(found.label_link),
        improbable_pairs=found.improbable_pairs,
        overlap=found.overlap,
        people=people,
        n_synthetic_identities=len(found.identities),
        synthetic_identities=found.identities.foremost,
        top_pairs=parts.kinds.mark(parts.top_pairs),
        top_pairs_corrected=parts.top_pairs_corrected,
        hubness=hubness_ranking(parts.raw, found.training.images, settings.top_pairs),
        power=parts.power,
        baselines=parts.baselines,
        verification=parts.verification,
        review=review,
        copy_thresholds=parts.kinds.thresholds,
        input_checks=found.checks,
        rejects={role: s.rejects for role, s in sets.items()},
        limitations=limitations(
            checks=found.checks,
            calibration=found.calibration,
            no_control=found.no_control,
            link=found.label_link,
            power=parts.power,
            copy_thresholds=parts.kinds.thresholds,
            counts=counts,
            channels=parts.synthetic.channels,
            models=models,
            inputs=manifest["inputs"],
            n_training_images_tested=0 if found.exposures is None else int(found.exposures.training.n_images.sum()),
        ),
        methods=methods(parts.raw.n_compared, len(found.identities), found.calibration, found.no_control),
        channels=parts.synthetic.channels,
        models=models,
        manifest=manifest,
        protocol=protocol,
        exposures=found.exposures,
        # The fields that need a control set have the same names in both records.
        **({"balance": found.balance} if found.calibration is None else vars(found.calibration)),
    )


def manifest_of(settings: Settings, sets: Mapping[Role, EmbeddedSource], embedder: AuditEmbedder) -> Manifest:
    """The facts that repeating the audit requires: inputs with hashes, settings, versions, machine."""
    manifest: Manifest = {
        "settings": settings.facts(),
        "inputs": {role: _input_facts(settings, role, s, embedder) for role, s in sets.items()},
        "files": {
            name: hashlib.sha256(path.read_bytes()).hexdigest()
            for name in LISTS
            if (path := getattr(settings, name)) is not None
        },
        "detector": embedder.detector,
        "versions": software_versions(),
        "machine": machine_facts(embedder),
    }
    if embedder.copy_model is not None:
        manifest["copy_model"] = embedder.copy_model
    return manifest


def input_facts(location: Location, source: EmbeddedSource) -> InputFacts:
    """What the manifest says of the images of one role or set."""
    return {
        "path": str(location),
        "kind": source.kind,
        "images": source.n_images,
        "sha256": source.sha256,
        "identity": source.label_rule,
        "aligned": source.alignment.key,
        "aligned_because": source.alignment.reason,
        "notes": list(source.notes),
    }


def machine_facts(embedder: AuditEmbedder) -> MachineFacts:
    """What the manifest says of this machine."""
    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": cores(),
        "device": embedder.runs_on,
    }


def _input_facts(settings: Settings, role: Role, source: EmbeddedSource, embedder: AuditEmbedder) -> InputFacts:
    facts = input_facts(settings.locations[role], source)
    if embedder.registration is not None and role != "synthetic":
        facts["registered"] = embedder.registration.description
    return facts


def times_since(started: datetime) -> dict[str, Any]:
    """When an audit that started then started and finished, and the seconds between."""
    finished = datetime.now(UTC)
    return {
        "started": started.isoformat(timespec="seconds"),
        "finished": finished.isoformat(timespec="seconds"),
        "seconds": round((finished - started).total_seconds(), 1),
    }
