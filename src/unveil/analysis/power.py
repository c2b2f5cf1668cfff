"""The power of the audit: the share of planted leaks that it would have found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from unveil.analysis.cohort import ChannelContext
from unveil.analysis.findings import ControlState, Findings
from unveil.analysis.identities import mean_identities
from unveil.channels.alignment import ImageAlignment
from unveil.columns import Labels
from unveil.compare import exact_cosine
from unveil.embedding.embedder import EmbedFunction
from unveil.embedding.images import ImageReader
from unveil.engine import map_ordered
from unveil.errors import ImageError, SourceError
from unveil.faces.align import ImageArray, resize
from unveil.io.host import cores
from unveil.io.memory import held_memory
from unveil.planting import FRAME_MARGIN, PERTURBATIONS, QUICK, PlantedImage, PlantedSource
from unveil.results import Power
from unveil.stats.leak_kinds import LeakKind
from unveil.stats.power import detection_threshold, lowest_significant, recall, strongest_found
from unveil.types import Embedded, Floats, Generators, Ints, Role

PlantedLeaks = Literal["full", "quick", "off"]
# People whose images are planted: of 95 found among 100, the 95% interval is 89% to 98%.
N_PEOPLE = {"full": 100, "quick": 40}
# The share of training people who leak in the case of many leaks.
MANY_LEAKS = 0.05
IDENTITY_MATCH: LeakKind = "identity match"
# Images of a planted identity. Few people of a control set have more than one more.
IMAGES_OF_IDENTITY = 2
TEMPLATE = 112
MAX_CROP_SIDE = 1024


def measure_power(
    found: Findings,
    images: Mapping[Role, ImageReader],
    embed: EmbedFunction,
    generators: Generators,
    *,
    planted_leaks: PlantedLeaks,
    fdr: float,
    seed: int,
    workers: int = 0,
) -> Power | None:
    """The recall of planted leaks by kind and strength, at the score from which this audit reports people.

    Control people stand for training people: a changed copy of one of their images is added to the synthetic set, and
    their exposure is compared with that score. Nothing in the audit itself changes. None where ``planted_leaks`` is
    off, without a control set, and where none of its images can be read.
    """
    state, exposures, decision = found.control, found.exposures, found.tests
    if planted_leaks == "off" or state is None or exposures is None or decision is None:
        return None
    control, synthetic = images["control"], images["synthetic"]
    rng = generators("power")
    perturbations = PERTURBATIONS if planted_leaks == "full" else QUICK
    people, sources = _choose_people(state, rng, N_PEOPLE[planted_leaks])
    partners = rng.integers(len(synthetic.embedded), size=len(people))
    plants, rows = _prepare(state, people, sources, partners, control, synthetic, workers or cores())
    if not plants:
        return None
    scores = np.full((len(plants), len(perturbations)), -np.inf)
    source = PlantedSource(plants, perturbations, [seed, *b"planted"])
    planted = _embed(source, plants, control.preprocessor.alignment, embed)
    if planted is not None:
        _score(planted, state, found.contexts, rows, scores)

    null, n = exposures.control.score, len(exposures.training)
    one_leak = detection_threshold(decision, 1, fdr)
    many_leaks = detection_threshold(decision, max(1, round(MANY_LEAKS * n)), fdr)
    recalls = [
        recall(p.kind, p.strength, scores[:, k], null, decision, one_leak, many_leaks)
        for k, p in enumerate(perturbations)
    ]
    other_images = _scores_of_other_images(state, rng, N_PEOPLE["full"])
    if len(other_images):
        recalls.append(recall(IDENTITY_MATCH, "another photograph", other_images, null, decision, one_leak, many_leaks))
    identities = _scores_of_planted_identities(state, found.contexts, rng, N_PEOPLE["full"])
    if len(identities):
        strength = f"an identity of {IMAGES_OF_IDENTITY} other photographs"
        recalls.append(recall(IDENTITY_MATCH, strength, identities, null, decision, one_leak, many_leaks))
    by_kind = {kind: [r for r in recalls if r.kind == kind] for kind in dict.fromkeys(r.kind for r in recalls)}
    strongest = {kind: strongest_found(steps) for kind, steps in by_kind.items()}
    return Power(
        setting=planted_leaks,
        n_people=len(plants),
        threshold_one_leak=one_leak,
        threshold_many_leaks=many_leaks,
        lowest_score=lowest_significant(null, decision, one_leak),
        recalls=tuple(recalls),
        strongest_found={kind: None if best is None else best.strength for kind, best in strongest.items()},
    )


def _choose_people(state: ControlState, rng: np.random.Generator, max_people: int) -> tuple[Ints, Ints]:
    """Codes of random tested control people, and the row of one random image of each.

    The image may be one that is not tested: a generator does not know which images the audit tests.
    """
    names, codes = state.side.people
    people = rng.permutation(np.unique(codes[state.subsample.control]))[:max_people]
    order = np.lexsort((rng.random(len(codes)), codes))
    first = order[np.searchsorted(codes[order], np.arange(len(names)))]
    return people, first[people]


def _prepare(
    state: ControlState,
    people: Ints,
    sources: Ints,
    partners: Ints,
    control: ImageReader,
    synthetic: ImageReader,
    workers: int,
) -> tuple[list[PlantedImage], list[Ints]]:
    """The images to change, and the rows of the tested images of each person; unreadable images are left out."""
    names, codes = state.side.people
    person_of_row = codes[state.subsample.control]

    def prepare(task: tuple[int, int, int]) -> tuple[PlantedImage, Ints] | None:
        person, source, partner = task
        try:
            with held_memory():
                face = control.read(state.side.images.ids[source])
                margin = 0 if face.aligned else FRAME_MARGIN
                crop = _planted_crop(face.pixels) if face.aligned else face.crop_with_margin(margin)
                del face
            with held_memory():
                blended = synthetic.read(synthetic.embedded.ids[partner]).aligned_crop
            planted = PlantedImage(names[person], crop, margin, blended)
        except ImageError:
            return None
        return planted, state.subsample.control[person_of_row == person]

    tasks = [(int(p), int(s), int(o)) for p, s, o in zip(people, sources, partners, strict=True)]
    prepared = [done for done in map_ordered(prepare, tasks, workers) if done is not None]
    return [planted for planted, _ in prepared], [rows for _, rows in prepared]


def _planted_crop(crop: ImageArray) -> ImageArray:
    """An aligned crop, reduced where it is larger than those of published sets: all are held at once."""
    return resize(crop, MAX_CROP_SIDE) if max(crop.shape[:2]) > MAX_CROP_SIDE else crop


def _embed(
    source: PlantedSource, plants: Sequence[PlantedImage], control: ImageAlignment, embed: EmbedFunction
) -> Embedded | None:
    """Planted images through decoding, detection and models; None where no face is found in any.

    Images with a margin go through face detection, as photographs do.
    """
    framed = TEMPLATE + 2 * FRAME_MARGIN
    crop_sizes = {planted.image.shape[0] for planted in plants if planted.margin == 0}
    # An aligned crop of the size of a frame cannot be distinguished from one; detection finds its face as well.
    crop_sizes.discard(framed)
    try:
        return embed(source, "planted", ImageAlignment(frozenset(crop_sizes), control.reason), source).embedded
    except SourceError:
        return None


def _score(
    planted: Embedded,
    state: ControlState,
    contexts: Mapping[str, ChannelContext],
    rows: Sequence[Ints],
    scores: Floats,
) -> None:
    """Fills in the exposure (people, perturbations) of each person with the changed copy added.

    A copy without a detected face stays at -inf.
    """
    side = state.side
    index = np.array([PlantedSource.indices(id) for id in planted.ids], np.int64)
    queries = np.repeat(np.arange(len(planted)), [len(rows[i]) for i in index[:, 0]])
    gallery = np.concatenate([rows[i] for i in index[:, 0]])
    for channel, context in contexts.items():
        images = planted.through(channel)
        correction = context.cohort.correction(images, "synthetic", skip_best=True)
        score = exact_cosine(images.vectors, side.images.through(channel).vectors, queries, gallery)
        score = score + correction[queries] + side.by_channel[channel].correction[gallery]
        np.maximum.at(scores, (index[queries, 0], index[queries, 1]), context.scale.of(score))
    before = np.array([side.score[own].max() for own in rows])
    found = ~np.isneginf(scores)
    scores[found] = np.maximum(scores, before[:, None])[found]


def _scores_of_other_images(state: ControlState, rng: np.random.Generator, max_people: int) -> Floats:
    """Exposures (N,) of control people whose other image is taken as a synthetic one: a perfect identity match.

    The other image is one of the person's real images, which is not compared with itself.
    """
    side = state.side
    codes = side.people[1]
    counts = np.bincount(codes)
    people = rng.permutation(np.flatnonzero(counts > 1))[:max_people]
    scores = []
    for person in people:
        own = np.flatnonzero(codes == person)
        new = int(rng.choice(own))
        rest = own[own != new]
        best = float(side.score[rest].max())
        for channel, matches in side.by_channel.items():
            vectors = side.images.through(channel).vectors
            cosine = exact_cosine(vectors, vectors, np.full(len(rest), new), rest)
            score = matches.scale.of(cosine + matches.people_correction[new] + matches.correction[rest])
            best = max(best, float(score.max()))
        scores.append(best)
    return np.array(scores)


def _scores_of_planted_identities(
    state: ControlState, contexts: Mapping[str, ChannelContext], rng: np.random.Generator, max_people: int
) -> Floats:
    """Exposures (N,) of control people, IMAGES_OF_IDENTITY of whose images are taken as one synthetic identity.

    The person's other images are compared with its mean vector. None where no identities are compared.
    """
    side = state.side
    codes = side.people[1]
    people = rng.permutation(np.flatnonzero(np.bincount(codes) > IMAGES_OF_IDENTITY))[:max_people]
    compared = {
        channel: (context.cohort, context.identities.scale)
        for channel, context in contexts.items()
        if context.identities is not None
    }
    if not compared or not len(people):
        return np.zeros(0)
    own = [rng.permutation(np.flatnonzero(codes == person)) for person in people]
    planted = np.concatenate([rows[:IMAGES_OF_IDENTITY] for rows in own])
    labels = Labels.of(f"planted {i}" for i in np.repeat(np.arange(len(people)), IMAGES_OF_IDENTITY))
    identities = mean_identities(replace(side.images.take(planted), people=labels))
    rest = np.concatenate([rows[IMAGES_OF_IDENTITY:] for rows in own])
    identity = np.repeat(np.arange(len(people)), [len(rows) - IMAGES_OF_IDENTITY for rows in own])
    scores = np.full(len(people), -np.inf)
    np.maximum.at(scores, identity, side.score[rest])
    for channel, (cohort, scale) in compared.items():
        means = identities.through(channel).means
        correction = cohort.correction(means, "synthetic", skip_best=True)
        cosine = exact_cosine(means.vectors, side.images.through(channel).vectors, identity, rest)
        score = cosine + correction[identity] + side.by_channel[channel].people_correction[rest]
        np.maximum.at(scores, identity, scale.of(score))
    return scores
