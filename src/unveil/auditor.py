"""The audit on one page: does a synthetic face set reproduce people its generator was trained on?

Read `_run` from top to bottom: each stage is one call.
"""

from __future__ import annotations

import contextvars
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime

from unveil.analysis.baselines import measure_baselines
from unveil.analysis.calibrated import analyse_with_control
from unveil.analysis.comparisons import Comparisons, open_run_backend, remove_tiles
from unveil.analysis.facts import exact_copies, with_repeats
from unveil.analysis.findings import Findings
from unveil.analysis.input_checks import check_sets
from unveil.analysis.label_link import class_labels, measure_label_link
from unveil.analysis.leak_kinds import classify_pairs
from unveil.analysis.power import measure_power
from unveil.analysis.rankings import top_pairs, top_pairs_corrected
from unveil.analysis.review_pairs import review_pairs
from unveil.analysis.uncalibrated import analyse_without_control
from unveil.analysis.verification import measure_verification
from unveil.compare import BackendSizes, TileSizes
from unveil.config.channels import channel_config
from unveil.config.paths import check_paths
from unveil.config.settings import Settings
from unveil.embedding.distributed import SourceSpec
from unveil.embedding.embedder import AuditEmbedder
from unveil.embedding.images import ImageReader
from unveil.embedding.pipeline import PipelineSizes
from unveil.engine import Engine, EngineOpener, shared_engine
from unveil.images import read_label_map, read_labels
from unveil.io.checkpoint import CHECKPOINT_SECONDS
from unveil.io.folders import exclusive
from unveil.io.remote_run import RemoteRun
from unveil.io.run_directory import RunDirectory
from unveil.native import arrays_in_files, arrays_in_memory
from unveil.planning import expected_units, workload_of
from unveil.planning.deviations import check_deviations, deviations_before, deviations_of_content, record_of
from unveil.planning.protocol import read_protocol
from unveil.progress import Progress
from unveil.report import write_reports
from unveil.results import AuditResult, PairFinding, PersonFinding, from_document, schema_sha256
from unveil.review import review_summary
from unveil.runs.assemble import AuditParts, assemble, times_since
from unveil.runs.inputs import STAMPS, input_stamps
from unveil.runs.parts import DOCUMENT, PARTS, RESULT, SCHEMA, checksums, result_sha256
from unveil.runs.repeat import check_what_followed, finished_result, replace_run
from unveil.runs.write import absolute_places, write_run
from unveil.stats.checks import Check
from unveil.types import ROLES, Embedded, Role


@dataclass(frozen=True)
class WorkSizes:
    """How an audit divides its work. No result depends on it; tests use small sizes to reach every moment."""

    pipeline: PipelineSizes = field(default_factory=PipelineSizes)
    backend: BackendSizes = field(default_factory=BackendSizes)
    tiles: TileSizes = field(default_factory=TileSizes)
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    large_set: int = 4_000_000  # images of a role from which large arrays are in mapped files
    large_array: int = 2**24  # their bytes


def run_audit(
    settings: Settings,
    progress: Progress,
    *,
    redact: bool = False,
    verify: bool = False,
    overwrite: bool = False,
    known_unfinished: bool = False,
    sizes: WorkSizes | None = None,
    engine: EngineOpener | None = None,
) -> AuditResult:
    """Runs an audit with checked settings: writes the run directory and returns the result.

    An audit that was killed resumes when it is run again. A finished one answers at once if its inputs have not
    changed; ``verify`` reads all files to see that. ``overwrite`` replaces an audit with other settings.
    ``known_unfinished`` says that the caller has asked `unveil.runs.repeat.repeated`. ``engine``
    opens the engine that several audits share, instead of the one of the settings. Raises InputError for input that
    cannot be used.
    """
    check_paths(settings)
    with exclusive(settings.out):
        finished = None if known_unfinished else finished_result(settings, redact=redact, verify=verify)
        if finished is not None:
            return finished
        check_what_followed(settings)
        with shared_engine(settings.engine, progress) if engine is None else nullcontext(engine) as opener:
            # Where its arrays are ends with the context.
            context = contextvars.copy_context()
            return context.run(_run, settings, progress, opener(), redact, overwrite, sizes or WorkSizes())


def _run(
    settings: Settings, progress: Progress, engine: Engine | None, redact: bool, overwrite: bool, sizes: WorkSizes
) -> AuditResult:
    """The stages of an audit, in order."""
    started = datetime.now(UTC)
    remote = _fetch_manifest(settings)
    specs = _source_specs(settings)
    arrays_in_files(sizes.large_array)
    sources = {role: spec.open() for role, spec in specs.items()}
    if max(len(source.records) for source in sources.values()) < sizes.large_set:
        arrays_in_memory()
    stamps = input_stamps(settings)
    strata = {} if settings.strata is None else read_labels(settings.strata)
    label_map = None if settings.label_map is None else read_label_map(settings.label_map)
    embedder = AuditEmbedder(
        *(channel_config(settings), sources),
        store=settings.store_place,
        trust_store=settings.trust_store,
        workers=settings.workers,
        progress=progress,
        engine=engine,
        sizes=sizes.pipeline,
    )
    protocol = None if settings.protocol is None else read_protocol(settings.protocol)
    deviations = () if protocol is None else deviations_before(protocol, settings, sources, embedder, started)
    if protocol is not None:
        check_deviations(protocol, settings, deviations)
    if overwrite:  # only now is it known that the inputs and models of the new audit can be read
        replace_run(settings)
    storage = None if remote is None else remote.storage
    run = RunDirectory(settings.out, settings.facts(), sizes.checkpoint_seconds, storage=storage)
    run.begin()
    backend = open_run_backend(
        *(settings.backend, settings.workers, engine, settings.store_place, run, sizes.backend, sizes.tiles)
    )
    compare = Comparisons(run, backend, progress, settings.top_k, settings.top_pairs)
    work = workload_of(*(sources, embedder.dimensions), top_k=settings.top_k, planted_leaks=settings.planted_leaks)
    progress.expect(expected_units(work, sources))

    # Images to vectors. Synthetic images that repeat another byte for byte count once.
    sets = embedder.embed_roles(
        *(sources, run, settings.random("networks")),
        aligned=settings.aligned,
        exclude=settings.exclude,
        specs=specs,
    )
    if protocol is not None:  # before anything is compared
        deviations += deviations_of_content(protocol, sets, deviations)
        check_deviations(protocol, settings, deviations)
    images = {role: embedder.reader(sources[role], s.embedded.distinct, s.alignment) for role, s in sets.items()}
    synthetic, training = images["synthetic"].embedded, sets["training"].embedded
    progress.start("checking the inputs", 0, "")
    checks = check_sets(sets, settings.random("hygiene"))

    # Vectors to findings.
    control = sets["control"].embedded if "control" in sets else None
    progress.start("testing whether labels link the sets", 0, "")
    link = measure_label_link(
        *(synthetic, training, class_labels(sources), label_map, settings.random),
        level=settings.global_level,
        fdr=settings.fdr,
    )
    readable = not any(s.kind == "embeddings" for s in sets.values())
    found = analyse(
        *(settings, synthetic, training, control, checks, compare, strata), images=images if readable else None
    ).reliable()
    raw = found.training.raw  # The published attack: every pair, ranked by cosine.
    copies = exact_copies(
        *(sets["synthetic"].embedded, training, raw, images if readable else None),
        rejects={role: s.rejects for role, s in sets.items()},
        workers=settings.workers,
    )
    found = found.with_link(link).with_copies(copies)
    top = top_pairs(raw, synthetic, training, settings.top_pairs)
    corrected = top_pairs_corrected(found.training, synthetic, settings.top_pairs)

    # The kind of each leak, the leaks that would have been found, and the baselines.
    closest: tuple[PersonFinding | PairFinding, ...] = (*found.significant_people, *top)
    kinds = classify_pairs(
        closest,
        *(images["synthetic"], images["training"], embedder.copy_channel),
        *(progress, settings.random("kinds"), settings.workers),
    )
    copies = with_repeats(kinds.copies(closest), sets["synthetic"].embedded, training)
    found = found.with_copies(copies).with_changed(kinds.n_changed(top), len(synthetic))
    power = measure_power(
        *(found, images, embedder.temporary_embedder(run), settings.random),
        planted_leaks=settings.planted_leaks,
        fdr=settings.fdr,
        seed=settings.seed,
        workers=settings.workers,
    )
    progress.start("measuring the baselines", 0, "")
    baselines = measure_baselines(synthetic, found, settings.random, backend)
    verification = measure_verification(sets, settings.random)

    pairs = review_pairs(found, synthetic, (*top, *corrected))
    result = assemble(
        AuditParts(sets, synthetic, raw, found, kinds, top, corrected, power, baselines, verification),
        *(settings, embedder, review_summary(run.path, pairs)),
        None if protocol is None else record_of(protocol, deviations, settings, found),
    )
    write_run(run.path, result, pairs, sets, synthetic, found, embedder)
    write_reports(
        *(result, found.identities, found.label_link, run.path, raw, synthetic, training, sources), redact=redact
    )
    remove_tiles(engine, settings.store_place, run)
    written = (run.path / "audit.json").read_bytes()
    seals = {
        PARTS: checksums(run.path),
        RESULT: result_sha256(from_document(json.loads(written))),
        DOCUMENT: hashlib.sha256(written).hexdigest(),
        SCHEMA: schema_sha256(),
    }
    facts = {"places": absolute_places(settings), STAMPS: stamps, **seals}
    run.finish({**result.manifest, **times_since(started), **facts})
    if remote is not None:
        remote.push()
        remote.remove_checkpoints()
    return result


def _fetch_manifest(settings: Settings) -> RemoteRun | None:
    """The remote run to write to, with its manifest fetched, so that two audits never mix in one address."""
    if settings.remote_run is None:
        return None
    remote = RemoteRun(settings.remote_run)
    remote.pull("manifest.json")
    return remote


def _source_specs(settings: Settings) -> dict[Role, SourceSpec]:
    return {
        role: SourceSpec(location, settings.labels.get(role), settings.follow_links)
        for role in ROLES
        if (location := settings.source(role)) is not None
    }


def analyse(
    settings: Settings,
    synthetic: Embedded,
    training: Embedded,
    control: Embedded | None,
    checks: Sequence[Check],
    compare: Comparisons,
    strata: Mapping[str, str],
    images: Mapping[Role, ImageReader] | None = None,
) -> Findings:
    """From vectors to the verdict, with or without a control set.

    ``images`` are read to look for near-duplicates.
    """
    if control is None:
        return analyse_without_control(
            *(synthetic, training, checks, compare),
            fdr=settings.fdr,
            global_level=settings.global_level,
        )
    return analyse_with_control(
        *(synthetic, training, control, checks, compare, settings.random),
        fdr=settings.fdr,
        global_level=settings.global_level,
        match_controls=settings.match_controls,
        strata=strata,
        resamples=settings.resamples,
        learned=settings.learned_score,
        images=images,
        workers=settings.workers,
    )
