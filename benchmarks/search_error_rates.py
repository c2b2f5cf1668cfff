"""Error rates of the statement without a control set: simulated people, searched as an audit searches them.

    python -m benchmarks.search_error_rates --runs 200 > docs/figures/search_error_rates.md
    python -m benchmarks.search_error_rates --held-out --runs 100 > docs/figures/held_out_error_rates.md

People are random unit vectors in 48 dimensions, images are a person and noise. Each run draws training people,
synthetic images of other people, and copies of training people where there are leaks; then corrects for hubs, searches
and tests as the audit does. Without a leak every finding is false.

With ``--held-out`` the people are control people, and the audit's own check decides whether they were held out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.error_rates import in_batches
from unveil.analysis.cohort import channel_context, pooled_cohort
from unveil.analysis.comparisons import FIRST_CHANNEL, Comparisons
from unveil.analysis.held_out import LEVEL as HELD_OUT_LEVEL
from unveil.analysis.held_out import NEAR_BY_CHANCE, check_held_out
from unveil.analysis.scores import score_side
from unveil.columns import Labels, Texts
from unveil.compare import Ranking, compare_rankings, open_backend
from unveil.io.run_directory import RunDirectory
from unveil.progress import Silent
from unveil.stats.hubness import NEIGHBOURS, closeness
from unveil.stats.intervals import share
from unveil.stats.no_control import fit_shift, search_tests
from unveil.types import Embedded, Floats, Ints, Matches, Vectors

DIMENSIONS = 48
FDR, LEVEL = 0.05, 0.01
LEAKED = 0.1  # of the training people
LISTS = ("conformal", "gpd", "identities")
CONTROL_PEOPLE = 1000
COPIED = (0.02, 0.05, 0.1)  # of the control people


@dataclass(frozen=True)
class Shape:
    """Training people and synthetic images, and how the two differ."""

    name: str
    people: int
    images: int = 1  # of a training person
    identities: int = 300
    each: int = 1  # synthetic images of an identity
    hubs: float = 0.0  # how far people are pulled to one direction, at most
    pull: float = 0.0  # of synthetic images to the middle of the training people
    stray: float = 0.0  # noise that only synthetic images have
    uneven: float = 0.0  # the pull differs between synthetic images
    same: bool = False  # the generator draws ten faces again and again, without labels
    runs: float = 1.0  # part of the runs


SHAPES = (
    Shape("200 people", 200),
    Shape("1,000 people", 1000),
    Shape("200 people, 10 images each", 200, images=10),
    Shape("1,000 people, 5 images each", 1000, images=5),
    Shape("identities of 10 images", 1000, each=10, identities=100),
    Shape("identities of 10 images, 200 people with 5", 200, images=5, each=10, identities=100),
    Shape("hubness", 1000, hubs=1.0),
    Shape("strong hubness, 200 people", 200, hubs=2.0),
    Shape("synthetic images closer to everybody", 1000, pull=0.5),
    Shape("synthetic images much closer to everybody", 1000, pull=1.5),
    Shape("closer by an uneven amount", 1000, uneven=1.0),
    Shape("synthetic images less like anybody", 1000, stray=0.5),
    Shape("many synthetic images", 200, identities=3000),
    Shape("few synthetic images", 1000, identities=30),
    Shape("ten faces, repeated without labels", 1000, same=True),
    Shape("5,000 people", 5000, runs=0.1),
)


@dataclass(frozen=True)
class Outcome:
    """Of one run: significant people and identities by each kind of evidence, falsely and in all."""

    conformal: tuple[int, int]
    gpd: tuple[int, int]
    identities: tuple[int, int]
    crowd: bool
    below: float

    @property
    def indicated(self) -> bool:
        """Whether the verdict would be a leak."""
        return bool(self.conformal[1] or self.gpd[1] or self.crowd)


def _unit(x: Floats) -> Vectors:
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)


def _mean_of_others(score: np.ndarray, own: Ints | None) -> tuple[Floats, np.ndarray]:
    """The mean of the ten highest scores of each row without the highest, its own column left out."""
    score = score.copy()
    if own is not None:
        rows = np.flatnonzero(own >= 0)
        score[rows, own[rows]] = -np.inf
    top = -np.partition(-score, NEIGHBOURS, axis=1)[:, : NEIGHBOURS + 1]
    top.sort(axis=1)
    return closeness(np.asarray(top[:, :NEIGHBOURS], np.float64)), score


@dataclass(frozen=True)
class World:
    """Unit vectors of the images of real people, who have these ``codes``, and of synthetic images.

    ``identity`` are the codes of the synthetic identities. ``copied`` is the person whom each synthetic image shows,
    -1 for nobody.
    """

    real: Vectors
    codes: Ints
    synthetic: Vectors
    identity: Ints
    copied: Ints


def draw(shape: Shape, n_copied: int, rng: np.random.Generator) -> World:
    """Images of real people, and synthetic images of other people and of so many of them."""
    middle = np.zeros(DIMENSIONS)
    middle[0] = 1.0

    def people(n: int) -> Floats:
        own = rng.normal(size=(n, DIMENSIONS)) / np.sqrt(DIMENSIONS)
        return np.asarray(own + middle * (0.7 + shape.hubs * rng.exponential(size=(n, 1))))

    def images(of: Floats) -> Floats:
        return np.asarray(of + 0.35 * rng.normal(size=of.shape) / np.sqrt(DIMENSIONS))

    real = people(shape.people)
    codes = np.repeat(np.arange(shape.people), shape.images)
    vectors = _unit(images(real[codes]))
    new = people(10 if shape.same else shape.identities)
    identity = np.repeat(np.arange(shape.identities), shape.each)
    drawn = new[identity % len(new)]
    copied = np.zeros(len(identity), np.int64) - 1
    if n_copied:
        chosen = rng.permutation(shape.people)[:n_copied]
        at = np.isin(identity, np.arange(len(chosen)))
        drawn[at] = real[chosen[identity[at]]]
        copied[at] = chosen[identity[at]]
    made = images(drawn) + shape.stray * rng.normal(size=drawn.shape) / np.sqrt(DIMENSIONS)
    made += middle * (shape.pull + shape.uneven * rng.exponential(size=(len(made), 1)))
    return World(vectors, codes, _unit(made), identity, copied)


def simulate(shape: Shape, leaks: bool, seed: int) -> Outcome:
    """One audit."""
    world = draw(shape, n_leaked(shape) if leaks else 0, np.random.default_rng([seed, int(leaks)]))
    training, codes, synthetic, identity = world.real, world.codes, world.synthetic, world.identity
    leaked = world.copied

    first = np.arange(shape.people) * shape.images
    cohort = training[first]
    r_real, _ = _mean_of_others(training @ cohort.T, codes)
    r_syn, _ = _mean_of_others(synthetic @ cohort.T, None)
    own = codes[first]
    bulk_real, _ = _mean_of_others(cohort @ cohort.T - r_real[first][None] / 2 - r_real[first][:, None] / 2, own)
    bulk_syn, _ = _mean_of_others(synthetic @ cohort.T - r_real[first][None] / 2 - r_syn[:, None] / 2, None)
    shift = fit_shift(bulk_syn, bulk_real, len(np.unique(identity)))
    score = cohort @ training.T - r_real[None] / 2
    score[codes[None] == own[:, None]] = -np.inf
    searches = score.max(1) - r_real[first] / 2
    score = synthetic @ training.T - r_real[None] / 2
    row = score.argmax(1)
    best = shift.of(score.max(1) - r_syn / 2)
    tests = search_tests(best, codes[row], identity, searches, shape.people)
    true = np.isin(np.arange(shape.people), leaked)
    conformal, gpd = tests.conformal(FDR), tests.gpd(FDR)
    significant = tests.identity_q <= FDR
    true_identity = np.isin(np.arange(shape.identities), identity[leaked >= 0])
    return Outcome(
        (int((conformal & ~true).sum()), int(conformal.sum())),
        (int((gpd & ~true).sum()), int(gpd.sum())),
        (int((significant & ~true_identity).sum()), int(significant.sum())),
        tests.crowd.p_value <= LEVEL,
        float((best < np.median(searches)).mean()),
    )


def held_out(shape: Shape, copied: float, compare: Comparisons, seed: int) -> bool:
    """Whether the check fails for control people of whom a share is copied, as the audit makes it.

    Beside the copies, control people have near-duplicates by chance as often as the check allows for.
    """
    rng = np.random.default_rng([seed, 1000 + round(1000 * copied)])
    world = draw(shape, round(copied * shape.people), rng)
    control = _embedded("control", world.real, [f"person {code}" for code in world.codes])
    labels = [f"identity {code}" for code in world.identity] if shape.each > 1 else None
    synthetic = _embedded("synthetic", world.synthetic, labels)
    contexts = {FIRST_CHANNEL: channel_context(synthetic, pooled_cohort(control, None, compare.backend))}
    side = score_side("control", control, contexts, compare, 1)
    near = np.zeros(len(control), np.bool_)
    near[np.flatnonzero(rng.random(shape.people) < NEAR_BY_CHANCE) * shape.images] = True
    (check,) = check_held_out(synthetic, replace(side, near_duplicate=near), (), compare, with_images=True)
    return check.status == "fail"


def _embedded(role: str, vectors: Vectors, people: Sequence[str] | None) -> Embedded:
    ids = Texts([f"{role} {i}" for i in range(len(vectors))])
    labels = Labels.missing(len(ids)) if people is None else Labels.of(people)
    return Embedded(ids, labels, ids, vectors, "drawn", channel=FIRST_CHANNEL)


class _ShortComparisons(Comparisons):
    """Comparisons that are too short to be resumed, so that nothing is written."""

    def named(
        self, name: str, queries: Embedded, gallery: Embedded, rankings: Sequence[Ranking]
    ) -> tuple[Matches, ...]:
        return compare_rankings(queries.vectors, gallery.vectors, rankings, backend=self.backend)


def held_out_batch(shape: Shape, copied: float, seeds: Sequence[int]) -> list[bool]:
    compare = _ShortComparisons(RunDirectory(Path("unused"), {}), open_backend("auto", 1), Silent())
    return [held_out(shape, copied, compare, seed) for seed in seeds]


def held_out_table(shapes: Sequence[Shape], runs: int, pool: ProcessPoolExecutor) -> None:
    """Prints how often the check of control people fails, where they were held out and where some are copied."""
    print(f"# The check that control people were held out, {runs} runs a row\n")
    print(
        f"{CONTROL_PEOPLE:,} control people. Four tests at level {HELD_OUT_LEVEL:g}, so at most 1% of audits may fail "
        "where nobody is copied. In brackets the 95% interval (Clopper-Pearson). With copies, a tenth of the runs.\n"
    )
    print("| shape | nobody is copied | " + " | ".join(f"{part:.0%} are" for part in COPIED) + " |")
    print("|---|---|" + "---|" * len(COPIED))
    for shape in shapes:
        rows = [in_batches(partial(held_out_batch, shape, 0.0), runs, pool)]
        rows += [in_batches(partial(held_out_batch, shape, part), max(1, runs // 10), pool) for part in COPIED]
        cells = [_share(rows[0]), *(f"{np.mean(failed):.2f}" for failed in rows[1:])]
        print(f"| {shape.name} | {' | '.join(cells)} |", flush=True)


def batch(shape: Shape, leaks: bool, seeds: Sequence[int]) -> list[Outcome]:
    return [simulate(shape, leaks, seed) for seed in seeds]


def n_leaked(shape: Shape) -> int:
    """Training people whom a leaking synthetic set copies, as `simulate` draws them."""
    return max(1, min(round(LEAKED * shape.people), shape.identities // 2))


def _share(found: Sequence[bool]) -> str:
    estimate = share(sum(found), len(found))
    return f"{estimate.value:.4f} ({estimate.low:.4f} to {estimate.high:.4f})"


def _false(outcomes: Sequence[Outcome], name: str) -> str:
    """The mean false discovery proportion of a list, with its standard error."""
    shares = np.array([getattr(o, name)[0] / max(1, getattr(o, name)[1]) for o in outcomes])
    return f"{shares.mean():.4f} ({shares.std() / np.sqrt(len(shares)):.4f})"


def _found(outcomes: Sequence[Outcome], name: str, n: int) -> str:
    return f"{np.mean([(getattr(o, name)[1] - getattr(o, name)[0]) / n for o in outcomes]):.2f}"


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="of each row without leaks; a fifth with them")
    parser.add_argument("--only", default="", help="shapes whose name holds this; each is the same as in a full run")
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--held-out", action="store_true", help="the check of control people instead")
    args = parser.parse_args()
    shapes = [shape for shape in SHAPES if args.only in shape.name]
    if args.held_out:
        with ProcessPoolExecutor(args.workers) as pool:
            held_out_table([shape for shape in shapes if shape.people == CONTROL_PEOPLE], args.runs, pool)
        return
    print(f"# Error rates without a control set, {args.runs} runs a row\n")
    print(f"False discovery rate {FDR}, level of the crowd test {LEVEL}.\n\n## Nothing leaks: share of runs\n")
    print("In brackets the 95% interval (Clopper-Pearson). The row with 5,000 people has a tenth of the runs.\n")
    print(
        "| shape | anybody significant, conformal | GPD tail | any identity | crowd test | verdict | below the median |"
    )
    print("|---|---|---|---|---|---|---|")
    with ProcessPoolExecutor(args.workers) as pool:
        for shape in shapes:
            done = in_batches(partial(batch, shape, False), max(1, round(args.runs * shape.runs)), pool)
            cells = [
                *(_share([getattr(o, name)[1] > 0 for o in done]) for name in LISTS),
                *(_share([o.crowd for o in done]), _share([o.indicated for o in done])),
                f"{np.mean([o.below for o in done]):.2f}",
            ]
            print(f"| {shape.name} | {' | '.join(cells)} |", flush=True)
        print(f"\n## {LEAKED:.0%} of the training people leak, or half of the identities if these are fewer\n")
        print(
            "The false discovery proportion, mean over runs with its standard error; then the share of leaked people "
            "(of leaking identities) found.\n"
        )
        print(
            "| shape | people leaked | conformal: false | found | GPD tail: false | found | identities: false | found "
            "| crowd test | verdict |\n|---|---|---|---|---|---|---|---|---|---|"
        )
        for shape in shapes:
            done = in_batches(partial(batch, shape, True), max(1, round(args.runs * shape.runs / 5)), pool)
            cells = [cell for name in LISTS for cell in (_false(done, name), _found(done, name, n_leaked(shape)))]
            cells += [f"{np.mean([o.crowd for o in done]):.2f}", f"{np.mean([o.indicated for o in done]):.2f}"]
            print(f"| {shape.name} | {n_leaked(shape)} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
