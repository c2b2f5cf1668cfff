"""Scores of people that the audit does not take, measured beside those it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from unveil.analysis.cohort import Cohort, channel_context, first_images
from unveil.channels import AppearanceChannel, FaceImage
from unveil.columns import Labels
from unveil.compare import compare_all
from unveil.embedding.fusion import model_weights
from unveil.images import Source, decode_rgb
from unveil.stats.baselines.domias import density_ratio
from unveil.stats.baselines.gan_leaks import calibrated_distance
from unveil.stats.hubness import best_of_each, person_codes
from unveil.stats.whitening import fit_whitening
from unveil.types import Embedded, Floats, Ints, Role, Vectors

# A face that is three times as close to its nearest training picture as to the second is a memorised one (Yoon et al.
# 2023, "Diffusion probabilistic models generalize when they fail to memorize"; the same ratio with k neighbours is used
# by Carlini et al. 2023, arXiv 2301.13188).
MEMORISED = 1 / 3
SIDE = 32


def memorised(synthetic: Source, real: Source, members: set[str]) -> float:
    """The share of synthetic faces at most MEMORISED times as far from the nearest training picture as from the second,
    by pixels."""
    s = _pixels(synthetic, None)
    t = _pixels(real, members)
    apart = (s**2).sum(1)[:, None] + (t**2).sum(1) - 2 * s @ t.T
    first, second = np.sqrt(np.maximum(np.partition(apart, 1, axis=1)[:, :2], 0)).T
    return float((first < MEMORISED * second).mean())


def _pixels(source: Source, people: set[str] | None) -> NDArray[np.float32]:
    records = [r for r in source.records if people is None or r.person in people]
    images = [cv2.resize(decode_rgb(source.read(r)), (SIDE, SIDE), interpolation=cv2.INTER_AREA) for r in records]
    return np.asarray(np.stack(images).reshape(len(records), -1) / 255, np.float32)


def further_scores(
    synthetic: Embedded,
    real: Embedded,
    cohort_ids: Sequence[str],
    sources: Mapping[Role, Source],
    rng: np.random.Generator,
) -> Iterator[tuple[str, Floats, Sequence[str]]]:
    """Name, score (P,) and people of each further score; ``real`` are all real pictures, whoever was learnt."""
    place = {id: i for i, id in enumerate(real.ids)}
    rows = np.array([place[id] for id in cohort_ids])
    names, codes = person_codes(real.people_or_ids)

    def per_person(score: Floats) -> Floats:
        return score[best_of_each(codes, score)]

    def hub_corrected(s: Embedded, r: Embedded) -> Floats:
        return per_person(_exposure(s, r, rows))

    faces, looks = (tuple(e.through(channel) for e in (synthetic, real)) for channel in ("face", "appearance"))
    yield "sum of face and appearance", hub_corrected(*faces) + hub_corrected(*looks), names

    weights = model_weights((faces[0], looks[0]), rng)
    both = [
        replace(f, vectors=np.concatenate([f.vectors * np.sqrt(weights[0]), a.vectors * np.sqrt(weights[1])], axis=1))
        for f, a in zip(faces, looks, strict=True)
    ]
    both = [replace(e, vectors=e.vectors.astype(np.float32)) for e in both]
    yield "face and appearance of one pair", hub_corrected(both[0], both[1]), names

    whitening = fit_whitening(faces[0].vectors)
    whitened = [replace(e, vectors=whitening.apply(e.vectors)) for e in faces]
    yield "face, whitened by the synthetic set", hub_corrected(whitened[0], whitened[1]), names

    sources_of = (sources["synthetic"], sources["training"])
    plain = [replace(e, vectors=_plain(source, e)) for source, e in zip(sources_of, looks, strict=True)]
    yield "appearance, not whitened", hub_corrected(plain[0], plain[1]), names

    templates = _templates(faces[1])
    yield "face, person templates", _exposure(faces[0], templates, codes[rows]), names
    if any(person is not None for person in synthetic.people):
        yield (
            "face, person and identity templates",
            _exposure(_templates(faces[0]), templates, codes[rows]),
            names,
        )

    for name, (s, r) in (("face", faces), ("appearance", looks)):
        reference = r.vectors[rows]
        to_generated, to_reference = (_distances(r.vectors, x) for x in (s.vectors, reference))
        # A cohort person is no reference for their own image.
        to_reference[rows, np.arange(len(rows))] = np.inf
        yield (
            f"GAN-Leaks calibrated, {name}",
            per_person(calibrated_distance(to_generated.min(1), to_reference.min(1))),
            names,
        )
        width = float(np.median(np.partition(to_reference, 1, axis=1)[:, 1])) / 2
        yield f"DOMIAS, {name}", per_person(density_ratio(to_generated, to_reference, width, s.vectors.shape[1])), names


# Version 0.1 took this share of the control people as its cohort, at random, and this quantile of it as its unit.
COHORT_SHARE, COHORT_UNIT = 0.2, 0.9


def first_version(synthetic: Embedded, real: Embedded, control: Ints, rng: np.random.Generator) -> Floats:
    """The score of version 0.1 of each real image (N,), computed from the vectors of today; ``control`` are the rows
    of control people. NaN for the cohort, whom it did not test."""
    people = np.array(real.people_or_ids)
    names = np.unique(people[control])
    cohort_people = rng.permutation(names)[: max(1, round(COHORT_SHARE * len(names)))]
    in_cohort = np.isin(people, cohort_people)
    rows = np.flatnonzero(in_cohort)
    rows = rows[first_images(people[rows].tolist())]
    scores = []
    for channel in real.channels:
        s, r = synthetic.through(channel), real.through(channel)
        cohort = Cohort(r.take(rows), 0)
        best = compare_all(
            *(s.vectors, r.vectors),
            top_k=1,
            query_offset=cohort.correction(s, "synthetic"),
            gallery_offset=cohort.correction(r, "control"),
        ).best_query_score
        middle, unit = np.quantile(best[rows], [0.5, COHORT_UNIT])
        scores.append((best - middle) / max(unit - middle, 1e-6))
    return np.where(in_cohort, np.nan, np.max(scores, axis=0))


def _exposure(synthetic: Embedded, real: Embedded, cohort_rows: NDArray[np.int64]) -> Floats:
    """The best hub-corrected score of each real vector (N,), on the scale of the cohort."""
    cohort = Cohort(real.take(cohort_rows), len(cohort_rows))
    context = channel_context(synthetic, cohort).on_cohort_scale()
    matched = compare_all(
        *(synthetic.vectors, real.vectors),
        top_k=1,
        query_offset=context.synthetic_correction,
        gallery_offset=cohort.correction(real, "training"),
    )
    return context.scale.of(matched.best_query_score)


def _templates(images: Embedded) -> Embedded:
    """One vector a person or identity: the mean of the pictures'."""
    names, codes = person_codes(images.people_or_ids)
    total = np.zeros((len(names), images.vectors.shape[1]))
    np.add.at(total, codes, images.vectors)
    mean = np.asarray(total / np.linalg.norm(total, axis=1, keepdims=True), np.float32)
    return Embedded(names, Labels.each(names), names, mean, "templates")


def _plain(source: Source, embedded: Embedded) -> Vectors:
    """The appearance channel's own vectors, before whitening."""
    channel, records = AppearanceChannel(), {r.id: r for r in source.records}
    crops = [FaceImage(decode_rgb(source.read(records[id])), aligned=True).aligned_crop for id in embedded.ids]
    return np.concatenate([channel.embed(np.stack(crops[i : i + 512])) for i in range(0, len(crops), 512)])


def _distances(a: Vectors, b: Vectors) -> Floats:
    return np.sqrt(np.maximum(0, 2 - 2 * np.asarray(a @ b.T, np.float64)))
