"""An overlap on one page: which people and images do two sets of real faces share?

Read `_run` from top to bottom: each stage is one call.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from unveil.analysis.comparisons import Comparisons, open_run_backend, remove_tiles
from unveil.analysis.rankings import count_images
from unveil.analysis.shared_people import (
    Images,
    closest_of_both,
    face_matches,
    is_labelled,
    likely_pairs,
    measure_false_matches,
    people_pairs,
    share_an_image,
    shared_images,
)
from unveil.auditor import WorkSizes
from unveil.channels.base import ChannelConfig
from unveil.choices import SET_NAMES, SetName
from unveil.compare import Ranking
from unveil.config.overlap import OverlapSettings
from unveil.config.paths import check_places
from unveil.embedding.distributed import SourceSpec
from unveil.embedding.embed import EmbeddedSource, resolve_alignment
from unveil.embedding.embedder import AuditEmbedder
from unveil.embedding.precomputed import read_precomputed
from unveil.engine import Engine, shared_engine
from unveil.images import EmbeddingSource, Source
from unveil.io.folders import exclusive
from unveil.io.run_directory import OVERLAP, RunDirectory
from unveil.progress import Progress
from unveil.results import OverlapResult, PeoplePair, Shared, SharedImage, plain
from unveil.runs.assemble import input_facts, machine_facts, times_since
from unveil.runs.inputs import STAMPS, input_stamps
from unveil.runs.repeat import replace_run
from unveil.runs.versions import software_versions
from unveil.sharing.finished import finished_overlap
from unveil.sharing.removal import removed_ids
from unveil.sharing.threshold import match_threshold
from unveil.sharing.words import headline, limitations
from unveil.sharing.write import write_overlap
from unveil.stats.generators import generator
from unveil.stats.hubness import person_codes

# The copy channel and the appearance of images say nothing about people.
CHANNELS = ("face",)


def run_overlap(
    settings: OverlapSettings,
    progress: Progress,
    *,
    verify: bool = False,
    overwrite: bool = False,
    sizes: WorkSizes | None = None,
) -> OverlapResult:
    """Compares two sets: writes the run directory and returns the result.

    An overlap that was killed resumes when it is run again. A finished one answers at once if its sets have not
    changed; ``verify`` reads all files to see that. ``overwrite`` replaces an overlap with other settings. Raises
    InputError for sets that cannot be used.
    """
    check_places(settings.out, settings.store_place, {str(name): at for name, at in settings.locations.items()})
    with exclusive(settings.out):
        finished = finished_overlap(settings, verify=verify)
        if finished is not None:
            return finished
        with shared_engine(settings.engine, progress) as engine:
            return _run(settings, progress, engine(), overwrite, sizes or WorkSizes())


def _run(
    settings: OverlapSettings, progress: Progress, engine: Engine | None, overwrite: bool, sizes: WorkSizes
) -> OverlapResult:
    started, random = datetime.now(UTC), partial(generator, settings.seed)
    specs = {
        name: SourceSpec(location, settings.labels.get(name), settings.follow_links)
        for name, location in settings.locations.items()
    }
    sources = {name: spec.open() for name, spec in specs.items()}
    stamps = input_stamps(settings)
    embedder = AuditEmbedder(
        ChannelConfig((settings.model,), settings.detector, None, CHANNELS, settings.device),
        sources,
        store=settings.store_place,
        trust_store=settings.trust_store,
        workers=settings.workers,
        progress=progress,
        engine=engine,
        sizes=sizes.pipeline,
    )
    if overwrite:  # only now is it known that the sets and the model can be read
        replace_run(settings, OVERLAP)
    run = RunDirectory(settings.out, settings.facts(), sizes.checkpoint_seconds, OVERLAP)
    run.begin()
    backend = open_run_backend(
        *(settings.backend, settings.workers, engine, settings.store_place, run, sizes.backend, sizes.tiles)
    )
    compare = Comparisons(run, backend, progress)

    # Images to vectors, and the closest image of every image.
    sets = {name: _embed(embedder, name, source, specs[name], run, settings) for name, source in sources.items()}
    a, b = sets["A"].embedded, sets["B"].embedded
    (matches,) = compare.named("A with B", a, b, [Ranking(compare.top_k)])
    people = closest_of_both(matches, person_codes(a.people_or_ids)[1], person_codes(b.people_or_ids)[1])

    # How often different people of one set are as close. Images that are the same are a fact; among the others, people
    # match by face.
    embedded = {name: s.embedded for name, s in sets.items()}
    tail, measured_on = measure_false_matches(embedded, random, progress)
    images = shared_images(
        *(a, b, matches, likely_pairs(face_matches(people, tail), settings.fdr), _readers(embedder, sources, sets)),
        {name: s.rejects for name, s in sets.items()},
        progress,
        settings.workers,
    )
    found = face_matches(people, tail, share_an_image(people, a, b, images))
    labelled = {name: is_labelled(s) for name, s in embedded.items()}
    n_people_pairs = len(set(a.people_or_ids)) * len(set(b.people_or_ids))
    threshold = match_threshold(settings, found, tail, measured_on, n_people_pairs, labelled=any(labelled.values()))
    cosine = None if threshold is None else threshold.cosine
    shared, candidates = people_pairs(found, cosine, a, b, images, settings.top_pairs)
    removed = {name: removed_ids(sources[name], name, shared, images) for name in SET_NAMES}
    counts = {name: _shared(name, sets[name], shared, images, len(removed[name])) for name in SET_NAMES}
    models: tuple[Any, ...] = tuple(plain(facts) for facts in embedder.model_facts)
    result = OverlapResult(
        headline=headline(shared, images, counts, threshold, labelled),
        counts={name: count_images(s) for name, s in sets.items()},
        labelled=labelled,
        shared=counts,
        threshold=threshold,
        pairs_compared=matches.n_compared,
        pairs_of_people=n_people_pairs,
        images=images,
        people=shared,
        candidates=candidates,
        rejects={name: s.rejects for name, s in sets.items()},
        limitations=limitations(threshold, labelled, {name: len(s.rejects) for name, s in sets.items()}, models),
        models=models,
        manifest={
            "settings": settings.facts(),
            "inputs": {name: input_facts(settings.locations[name], s) for name, s in sets.items()},
            "detector": embedder.detector,
            "versions": software_versions(),
            "machine": machine_facts(embedder),
        },
    )
    sealed = write_overlap(run.path, result, removed, sources)
    remove_tiles(engine, settings.store_place, run)
    places = {name: str(location.absolute) for name, location in settings.locations.items()}
    run.finish({**result.manifest, **times_since(started), "places": places, STAMPS: stamps, **sealed})
    return result


def _embed(
    embedder: AuditEmbedder,
    name: SetName,
    source: Source,
    spec: SourceSpec,
    run: RunDirectory,
    settings: OverlapSettings,
) -> EmbeddedSource:
    """The vectors of a set. They are stored with the checkpoints, and removed when the run is finished."""
    if isinstance(source, EmbeddingSource):
        return read_precomputed(source, run.scratch(f"{name}.npy"))
    alignment = resolve_alignment(source, settings.aligned.get(name, "auto"), name)
    return embedder.temporary_embedder(run)(source, name, alignment, spec)


def _readers(
    embedder: AuditEmbedder, sources: Mapping[SetName, Source], sets: Mapping[SetName, EmbeddedSource]
) -> Images | None:
    """The images of both sets, or None where embeddings were given."""
    if any(isinstance(source, EmbeddingSource) for source in sources.values()):
        return None
    a, b = (embedder.reader(sources[n], sets[n].embedded, sets[n].alignment) for n in SET_NAMES)
    return a, b


def _shared(
    name: SetName,
    source: EmbeddedSource,
    people: tuple[PeoplePair, ...],
    images: tuple[SharedImage, ...],
    n_removed: int,
) -> Shared:
    """How much of one set is in the other."""
    side = SET_NAMES.index(name)
    return Shared(
        people=len({(p.a_person, p.b_person)[side] for p in people}),
        people_by_image=len({(p.a_person, p.b_person)[side] for p in people if p.shared_images}),
        people_in_set=len(set(source.embedded.people_or_ids)),
        images=len({(i.a_id, i.b_id)[side] for i in images}),
        images_in_set=source.n_images,
        removed=n_removed,
    )
