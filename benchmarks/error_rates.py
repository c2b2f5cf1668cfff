"""How often an audit finds what is not there, and how often what is: simulated comparisons, every basis of the verdict.

    python benchmarks/error_rates.py --runs 2000 > docs/figures/error_rates.md

Each run draws the scores of all pairs of synthetic images with training and control images. So everything that makes
chance uneven is there: people with many images, images of one person that score alike, people who are close to
everybody, sets of unequal size. Then the audit's own functions match, test and list. Without a leak, any finding is
false; with leaks, the false discovery proportion is the share of listed people (or synthetic images) that are not
leaked. A tail of the noise heavier than any measured on faces is among the scenarios, and people who are no part of any
tail.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np

from unveil.stats.balance import fit_prognostic_score, match_people
from unveil.stats.enrichment import ALL_CHANNELS, global_test, global_test_by_any
from unveil.stats.exposure import counts_differ, matched_counts, subsample_images
from unveil.stats.hubness import best_of_each
from unveil.stats.intervals import share
from unveil.stats.person_tests import lifted, person_tests
from unveil.stats.score_scale import fit_score_scales
from unveil.stats.target_decoy import compete
from unveil.types import Floats, Ints

T = TypeVar("T")
LEVELS = (0.01, 0.05, 0.1)
GLOBAL_LEVEL = 0.01
LISTS = ("conformal", "GPD tail", "identities")
EFFECTS = (6.0, 9.0)  # added to the score of a leaked pair, in standard deviations of the noise
SHIFTS = (0.0, 0.15, 0.3, 0.7)  # of training people in what foretells exposure
LEAKED = 0.05  # of the training people
UNUSUAL = 9.0


@dataclass(frozen=True)
class Scenario:
    """People and pictures of both sides, and how their scores come about."""

    name: str
    training: int
    control: int
    synthetic: int = 200
    most_training: int = 1  # pictures a person, drawn between 1 and this
    most_control: int = 1
    alike: float = 0.0  # share of a picture's own spread that is the person's
    hubs: float = 0.0  # scale of what makes a person close to everybody (exponential)
    noise: str = "normal"
    step: float = 0.0  # scores are rounded to this, so that they tie
    unit: float = 1.0  # of the effects
    second: str = ""  # noise of a second channel; a leaked person leaks in one of the two
    near: float = 0.0  # share of people with a near-duplicate by chance; half of the leaked people have one too
    unusual: float = 0.0  # share of people who are UNUSUAL standard deviations closer to one synthetic image by chance


SCENARIOS = (
    Scenario("equal", 300, 300),
    Scenario("more training people", 600, 200),
    Scenario("more control people", 200, 600),
    Scenario("1 to 50 images against 1 to 10", 150, 150, most_training=50, most_control=10),
    Scenario("1 to 20 images, correlated", 200, 200, most_training=20, most_control=20, alike=0.8),
    Scenario("hubness", 300, 300, hubs=1.0),
    Scenario("hubness, unequal, 1 to 10 images", 400, 200, most_training=10, most_control=5, alike=0.5, hubs=1.0),
    Scenario("heavy tails (shape .15)", 300, 300, noise="heavy", unit=5.0),
    Scenario("ties", 300, 300, step=0.25),
    Scenario("as LFW: 1 to 4 images", 1500, 1200, most_training=4, most_control=4, alike=0.5, hubs=0.3),
    Scenario("near-duplicates by chance (0.3% of people)", 300, 300, near=0.003),
    Scenario("one person in 3,000 is unusually close by chance", 300, 300, unusual=1 / 3000),
    Scenario("two channels", 300, 300, second="normal"),
    Scenario("two channels, one with a heavy tail; hubness, unequal", 400, 200, alike=0.5, hubs=0.5, second="heavy"),
    Scenario(
        "two channels, ties, 1 to 10 images", 300, 300, most_training=10, most_control=5, step=0.25, second="normal"
    ),
)


@dataclass(frozen=True)
class Outcome:
    """Of one run at one level: what each list holds, falsely and in all, and whether the global test rejects."""

    false: dict[str, int]
    significant: dict[str, int]
    rejected: bool


def simulate(scenario: Scenario, effect: float, rng: np.random.Generator) -> dict[float, Outcome]:
    """One audit: with an ``effect`` on the pairs of leaked people, or without a leak where it is 0."""
    counts_t = rng.integers(1, scenario.most_training + 1, scenario.training)
    counts_c = rng.integers(1, scenario.most_control + 1, scenario.control)
    codes_t, codes_c = np.repeat(np.arange(len(counts_t)), counts_t), np.repeat(np.arange(len(counts_c)), counts_c)
    scores_t, scores_c = (_scores(scenario, codes, rng) for codes in (codes_t, codes_c))
    others = (_second(scenario, codes_t, rng), _second(scenario, codes_c, rng)) if scenario.second else None
    leaked = (
        rng.permutation(scenario.training)[: round(LEAKED * scenario.training)] if effect else np.zeros(0, np.int64)
    )
    leaking = rng.permutation(scenario.synthetic)[: len(leaked)]
    if len(leaking) < len(leaked):
        leaking = rng.integers(scenario.synthetic, size=len(leaked))
    for i, (person, query) in enumerate(zip(leaked, leaking, strict=True)):
        seen = scores_t if others is None or i % 2 else others[0]
        seen[query, rng.choice(np.flatnonzero(codes_t == person))] += effect * scenario.unit
    if scenario.unusual:
        for scores, codes in ((scores_t, codes_t), (scores_c, codes_c)):
            _make_unusual(scores, codes, scenario, rng)
    alone: list[tuple[Floats, Floats]] = []
    if others is not None:
        alone = [(scores_t, scores_c), others]
        scores_t, scores_c = _together((scores_t, scores_c), others, (codes_t, codes_c))

    differ = counts_differ(counts_t, counts_c)
    some_t, some_c = matched_counts(counts_t, counts_c, rng) if differ else (counts_t, counts_c)
    rows_t, rows_c = subsample_images(codes_t, some_t, rng), subsample_images(codes_c, some_c, rng)
    exposed_t, exposed_c = _exposures(scores_t, codes_t, rows_t), _exposures(scores_c, codes_c, rows_c)
    near_t, near_c = (rng.random(len(e)) < scenario.near for e in (exposed_t, exposed_c))
    near_t[leaked[::2]] |= scenario.near > 0
    of_group = {ALL_CHANNELS: lifted(exposed_t, exposed_c, near_t, near_c)}
    decision = person_tests(exposed_t, exposed_c, of_group[ALL_CHANNELS])
    # The group is tested by each channel alone, too.
    for i, (t, c) in enumerate(alone):
        exposed = _exposures(t, codes_t, rows_t), _exposures(c, codes_c, rows_c)
        of_group[f"channel {i}"] = lifted(*exposed, near_t, near_c)
    rejected = global_test_by_any(of_group).p_value <= GLOBAL_LEVEL
    best_t, best_c = scores_t[:, rows_t].argmax(1), scores_c[:, rows_c].argmax(1)
    top_t, top_c = scores_t[:, rows_t].max(1), scores_c[:, rows_c].max(1)
    won = top_t > top_c
    winner = np.where(won, codes_t[rows_t[best_t]], codes_c[rows_c[best_c]])
    ratio = scenario.training / scenario.control
    is_leaked = np.isin(np.arange(scenario.training), leaked)
    truly_leaking = won & is_leaked[np.where(won, winner, 0)]
    outcomes = {}
    for level in LEVELS:
        identities = compete(np.maximum(top_t, top_c), won, winner, ratio, level).significant(level)
        lists = {"conformal": decision.conformal(level), "GPD tail": decision.gpd(level)}
        outcomes[level] = Outcome(
            {
                **{n: int((x & ~is_leaked).sum()) for n, x in lists.items()},
                LISTS[2]: int((identities & ~truly_leaking).sum()),
            },
            {**{n: int(x.sum()) for n, x in lists.items()}, LISTS[2]: int(identities.sum())},
            rejected,
        )
    return outcomes


def _scores(scenario: Scenario, codes: Ints, rng: np.random.Generator) -> Floats:
    """Scores (synthetic, pictures) of every pair."""
    n, people = len(codes), int(codes.max()) + 1
    shape = (scenario.synthetic, n)
    if scenario.noise == "normal":
        noise = rng.standard_normal(shape, np.float32)
    else:
        noise = (rng.random(shape, np.float32) + np.float32(1e-9)) ** np.float32(-0.15) / np.float32(0.15)
    person, image = rng.normal(size=people), rng.normal(size=n)
    own = np.sqrt(scenario.alike) * person[codes] + np.sqrt(1 - scenario.alike) * image
    score: Floats = noise + (0.5 * own + scenario.hubs * rng.exponential(size=people)[codes])
    if scenario.step:
        score = np.round(score / scenario.step) * scenario.step
    return score


def _make_unusual(scores: Floats, codes: Ints, scenario: Scenario, rng: np.random.Generator) -> None:
    """Raises one pair of each unusual person in scores (synthetic, pictures)."""
    for person in np.flatnonzero(rng.random(int(codes.max()) + 1) < scenario.unusual):
        query = rng.integers(scenario.synthetic)
        scores[query, rng.choice(np.flatnonzero(codes == person))] += UNUSUAL * scenario.unit


def _second(scenario: Scenario, codes: Ints, rng: np.random.Generator) -> Floats:
    """Scores of the same pairs by the second channel."""
    return _scores(replace(scenario, noise=scenario.second), codes, rng)


def _together(
    first: tuple[Floats, Floats], second: tuple[Floats, Floats], codes: tuple[Ints, Ints]
) -> tuple[Floats, Floats]:
    """The audit's score over both channels: the higher of the two on the scales of the exposures of all real people."""
    everybody = [
        np.concatenate([_exposures(s, c, np.arange(len(c))) for s, c in zip(sides, codes, strict=True)])
        for sides in (first, second)
    ]
    one, other = fit_score_scales({"first": everybody[0], "second": everybody[1]}).values()
    t, c = (np.maximum(one.of(a), other.of(b)) for a, b in zip(first, second, strict=True))
    return t, c


def _exposures(scores: Floats, codes: Ints, rows: Ints) -> Floats:
    best = scores[:, rows].max(0)
    return np.asarray(best[best_of_each(codes[rows], best)], np.float64)


def batch(scenario: Scenario, effect: float, seeds: Sequence[int]) -> list[dict[float, Outcome]]:
    return [simulate(scenario, effect, np.random.default_rng([seed, round(10 * effect)])) for seed in seeds]


def simulated(scenario: Scenario, effect: float, runs: int, pool: ProcessPoolExecutor) -> list[dict[float, Outcome]]:
    return in_batches(partial(batch, scenario, effect), runs, pool)


def in_batches(function: Callable[[Sequence[int]], list[T]], runs: int, pool: ProcessPoolExecutor) -> list[T]:
    """What the function gives for the seeds 0 to ``runs``, 50 a task, in order."""
    batches = [range(start, min(start + 50, runs)) for start in range(0, runs, 50)]
    return [one for done in pool.map(function, batches) for one in done]


def mismatch(shift: float, seeds: Sequence[int]) -> list[tuple[bool, bool, bool, int, int]]:
    """Audits without a leak in which training people differ for another reason.

    Whether the global test rejects before and after matching, whether anybody is listed after it, and how many people
    of both sides are left.
    """
    found = []
    for seed in seeds:
        rng = np.random.default_rng([seed, round(100 * shift)])
        features_t, features_c = rng.normal(size=(800, 12)), rng.normal(size=(1600, 12))
        features_t[:, 0] += shift
        exposed_t, exposed_c = (0.8 * f[:, 0] + 0.6 * rng.normal(size=len(f)) for f in (features_t, features_c))
        told = fit_prognostic_score(features_t, features_c, exposed_c, rng)
        strata = np.zeros(800, np.int64), np.zeros(1600, np.int64)
        keep_t, keep_c = match_people(told.training, told.control, *strata, rng)
        matched = person_tests(exposed_t[keep_t], exposed_c[keep_c])
        found.append(
            (
                global_test(exposed_t, exposed_c).p_value <= GLOBAL_LEVEL,
                matched.global_test.p_value <= GLOBAL_LEVEL,
                bool((matched.conformal(0.05) | matched.gpd(0.05)).any()),
                int(keep_t.sum()),
                int(keep_c.sum()),
            )
        )
    return found


def mismatch_table(runs: int, pool: ProcessPoolExecutor) -> None:
    """Prints what matching does about control people of another kind."""
    print("\n## Training people differ for another reason, nothing leaks\n")
    print(
        "800 training and 1,600 control people; a feature of real images makes exposures .8 "
        "standard deviations higher for each of its own, and training people have more of it. q .05.\n"
    )
    print(
        f"| difference | global test at {GLOBAL_LEVEL}, unmatched | the same, matched | anybody significant, matched "
        "| training, control people tested |"
    )
    print("|---|---|---|---|---|")
    for shift in SHIFTS:
        done = in_batches(partial(mismatch, shift), runs, pool)
        cells = [_share([bool(run[k]) for run in done]) for k in range(3)]
        left = ", ".join(f"{np.mean([run[k] for run in done]):.0f}" for k in (3, 4))
        print(f"| {shift:g} | " + " | ".join(cells) + f" | {left} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, help="of each row")
    parser.add_argument("--only", default="", help="scenarios whose name holds this; each is the same as in a full run")
    parser.add_argument("--workers", type=int, default=None, help="processes; by default one a core")
    args = parser.parse_args()
    runs, scenarios = args.runs, [scenario for scenario in SCENARIOS if args.only in scenario.name]
    with ProcessPoolExecutor(args.workers) as pool:
        print(f"# Error rates, {runs} runs a row\n")
        print("## Nothing leaks: share of runs with any false finding\n")
        print(
            "The mean false discovery proportion is the same number, since every finding is false. In brackets the 95% "
            "interval (Clopper-Pearson). The error rate holds where the interval begins at or below q.\n"
        )
        print("| scenario | q | " + " | ".join(LISTS) + f" | global test at {GLOBAL_LEVEL} | any of the four |")
        print("|---|---|" + "---|" * (len(LISTS) + 2))
        for scenario in scenarios:
            outcomes = simulated(scenario, 0.0, runs, pool)
            for level in LEVELS:
                print(
                    f"| {scenario.name} | {level} | " + " | ".join(_null_cells([o[level] for o in outcomes])) + " |",
                    flush=True,
                )
        print(
            f"\n## {LEAKED:.0%} of the training people leak: false discovery proportion, and share of leaks detected\n"
        )
        print(
            "Mean over runs of the share of a list that is false, with its standard error; then the share of leaked "
            "people who are found (by identities: whose closest synthetic image is significant).\n"
        )
        print(
            "| scenario | effect | q | " + " | ".join(f"{name}: false | found" for name in LISTS) + " | global test |"
        )
        print("|---|---|---|" + "---|" * (2 * len(LISTS) + 1))
        for scenario in scenarios:
            for effect in EFFECTS:
                outcomes = simulated(scenario, effect, runs, pool)
                for level in LEVELS:
                    cells = _signal_cells([o[level] for o in outcomes], round(LEAKED * scenario.training))
                    print(f"| {scenario.name} | {effect:g} | {level} | " + " | ".join(cells) + " |", flush=True)
        if not args.only:
            mismatch_table(runs, pool)


def _share(found: list[bool]) -> str:
    estimate = share(sum(found), len(found))
    return f"{estimate.value:.4f} ({estimate.low:.4f} to {estimate.high:.4f})"


def _null_cells(outcomes: list[Outcome]) -> list[str]:
    return [
        *(_share([o.significant[name] > 0 for o in outcomes]) for name in LISTS),
        _share([o.rejected for o in outcomes]),
        _share([o.rejected or any(o.significant.values()) for o in outcomes]),
    ]


def _signal_cells(outcomes: list[Outcome], leaks: int) -> list[str]:
    cells = []
    for name in LISTS:
        false = np.array([o.false[name] / max(1, o.significant[name]) for o in outcomes])
        true = np.array([(o.significant[name] - o.false[name]) / leaks for o in outcomes])
        cells += [f"{false.mean():.4f} ({false.std() / np.sqrt(len(false)):.4f})", f"{true.mean():.2f}"]
    return [*cells, f"{np.mean([o.rejected for o in outcomes]):.2f}"]


if __name__ == "__main__":
    main()
