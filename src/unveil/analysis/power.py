"""What the audit would have found: leaks of control people, planted and sent the way of every synthetic picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from unveil.analysis.cohort import ChannelContext
from unveil.analysis.findings import ControlState, Findings
from unveil.channels.alignment import ImageAlignment
from unveil.compare import exact_cosine
from unveil.config.settings import Settings
from unveil.embedding.embed import Embedder
from unveil.embedding.images import ImageReader
from unveil.engine import map_ordered
from unveil.errors import ImageError, SourceError
from unveil.io.host import cores
from unveil.planting import FRAME_MARGIN, PERTURBATIONS, QUICK, Perturbation, PlantedImage, PlantedSource
from unveil.results.audit import Power
from unveil.stats.power import detection_threshold, lowest_significant, recall, strongest_found
from unveil.types import Embedded, Floats, Ints, Role

# People planted: 95 of 100 found lie within 89% and 98%.
PEOPLE = {"full": 100, "quick": 40}
# The share of training people that leak in the second column.
TOGETHER = 0.05
IDENTITY_MATCH = "identity match"
TEMPLATE = 112


def measure_power(
    found: Findings, images: Mapping[Role, ImageReader], embed: Embedder, settings: Settings
) -> Power | None:
    """Recall by kind and strength of planted leaks, at the line at which this audit lists people.

    People of the control set stand for training people: a changed copy of one of their pictures is added to the
    synthetic set, and their exposure is compared with the line. Nothing of the audit itself changes. None when it is
    off, when there is no control set, or when none of its pictures can be read.
    """
    ground, calibration = found.ground, found.calibration
    if settings.planted_leaks == "off" or ground is None or calibration is None:
        return None
    control, synthetic = images["control"], images["synthetic"]
    rng = settings.random("power")
    changes = PERTURBATIONS if settings.planted_leaks == "full" else QUICK
    people, sources = _chosen(ground, rng, PEOPLE[settings.planted_leaks])
    plants, rows = _plants(ground, people, sources, control, synthetic, settings, rng)
    if not plants:
        return None
    scores = np.full((len(plants), len(changes)), -np.inf)
    planted = _embed(plants, changes, control.preprocessor.alignment, embed, settings)
    if planted is not None:
        _score(planted, ground, found.contexts, rows, scores)

    decision, null, n = calibration.decision, calibration.control.score, len(calibration.training)
    alone = detection_threshold(decision, 1, settings.fdr)
    together = detection_threshold(decision, max(1, round(TOGETHER * n)), settings.fdr)
    recalls = [
        recall(how.kind, how.strength, scores[:, k], null, decision, alone, together) for k, how in enumerate(changes)
    ]
    again = _other_images(ground, rng, PEOPLE["full"])
    if len(again):
        recalls.append(recall(IDENTITY_MATCH, "another photograph", again, null, decision, alone, together))
    ladder = {kind: [r for r in recalls if r.kind == kind] for kind in dict.fromkeys(r.kind for r in recalls)}
    strongest = {kind: strongest_found(steps) for kind, steps in ladder.items()}
    return Power(
        setting=settings.planted_leaks,
        n_people=len(plants),
        threshold_one_leak=alone,
        threshold_many_leaks=together,
        lowest_score=lowest_significant(null, decision, alone),
        recalls=tuple(recalls),
        strongest_found={kind: None if best is None else best.strength for kind, best in strongest.items()},
    )


def _chosen(ground: ControlState, rng: np.random.Generator, most: int) -> tuple[Ints, Ints]:
    """Control people who take part, as codes, and one picture of each: any of theirs, as a generator would not ask
    which of them the audit will test."""
    names, codes = ground.control.people
    people = rng.permutation(np.unique(codes[ground.draw.control]))[:most]
    order = np.lexsort((rng.random(len(codes)), codes))
    first = order[np.searchsorted(codes[order], np.arange(len(names)))]
    return people, first[people]


def _plants(
    ground: ControlState,
    people: Ints,
    sources: Ints,
    control: ImageReader,
    synthetic: ImageReader,
    settings: Settings,
    rng: np.random.Generator,
) -> tuple[list[PlantedImage], list[Ints]]:
    """The pictures to be changed, and the rows of each person's pictures that take part; unreadable ones are left."""
    partners = rng.integers(len(synthetic.embedded), size=len(people))
    names, codes = ground.control.people
    of_person = codes[ground.draw.control]

    def prepare(task: tuple[int, int, int]) -> tuple[PlantedImage, Ints] | None:
        person, source, partner = task
        try:
            shot = control.read(ground.control.images.ids[source])
            other = synthetic.read(synthetic.embedded.ids[partner])
            margin = 0 if shot.aligned else FRAME_MARGIN
            cut = shot.image if shot.aligned else shot.crop_with_margin(margin)
            plant = PlantedImage(names[person], cut, margin, other.aligned_crop)
        except ImageError:
            return None
        return plant, ground.draw.control[of_person == person]

    tasks = [(int(p), int(s), int(o)) for p, s, o in zip(people, sources, partners, strict=True)]
    made = [done for done in map_ordered(prepare, tasks, settings.workers or cores()) if done is not None]
    return [plant for plant, _ in made], [rows for _, rows in made]


def _embed(
    plants: Sequence[PlantedImage],
    changes: Sequence[Perturbation],
    control: ImageAlignment,
    embed: Embedder,
    settings: Settings,
) -> Embedded | None:
    """Planted pictures through decoding, detection and network. Pictures with a margin are detected, as photographs.

    None when no face is found in any.
    """
    source = PlantedSource(plants, changes, [settings.seed, *b"planted"])
    framed = TEMPLATE + 2 * FRAME_MARGIN
    sides = {plant.image.shape[0] for plant in plants if plant.margin == 0}
    if framed in sides:
        # Cannot be told from a frame by its size; an aligned crop is found by detection as well.
        sides.discard(framed)
    try:
        return embed(source, "planted", ImageAlignment(frozenset(sides), control.reason)).embedded
    except SourceError:
        return None


def _score(
    planted: Embedded,
    ground: ControlState,
    contexts: Mapping[str, ChannelContext],
    rows: Sequence[Ints],
    scores: Floats,
) -> None:
    """Fills in the exposure (plants, changes) of each planted person with the changed copy added. A copy in which no
    face was found stays at -inf."""
    side = ground.control
    place = np.array([PlantedSource.indices(id) for id in planted.ids], np.int64)
    # Names that nobody in the cohort has.
    strangers = replace(planted, people=(None,) * len(planted), ids=tuple(f"planted {id}" for id in planted.ids))
    queries = np.repeat(np.arange(len(planted)), [len(rows[i]) for i in place[:, 0]])
    gallery = np.concatenate([rows[i] for i in place[:, 0]])
    for channel, lens in contexts.items():
        seen = strangers.through(channel)
        offset = lens.cohort.correction(seen)
        each = exact_cosine(seen.vectors, side.images.through(channel).vectors, queries, gallery)
        each = each + offset[queries] + side.by_channel[channel].correction[gallery]
        np.maximum.at(scores, (place[queries, 0], place[queries, 1]), lens.standard.of(each))
    before = np.array([side.score[own].max() for own in rows])
    found = ~np.isneginf(scores)
    scores[found] = np.maximum(scores, before[:, None])[found]


def _other_images(ground: ControlState, rng: np.random.Generator, most: int) -> Floats:
    """Exposures of control people to another picture of their own: what a perfect new picture of a person would give.

    The picture is taken from the person's real ones, and not compared with itself.
    """
    side = ground.control
    codes = side.people[1]
    counts = np.bincount(codes)
    people = rng.permutation(np.flatnonzero(counts > 1))[:most]
    scores = []
    for person in people:
        own = np.flatnonzero(codes == person)
        new = int(rng.choice(own))
        rest = own[own != new]
        best = float(side.score[rest].max())
        for channel, sight in side.by_channel.items():
            vectors = side.images.through(channel).vectors
            cosine = exact_cosine(vectors, vectors, np.full(len(rest), new), rest)
            score = sight.standard.of(cosine + sight.correction[new] + sight.correction[rest])
            best = max(best, float(score.max()))
        scores.append(best)
    return np.array(scores)
