"""How often the interval of the share of exposed people contains the truth, in simulated audits.

    python -m benchmarks.exposed_share --runs 2000 > docs/figures/exposed_share.md

Exposures of people who did not leak follow a Gumbel distribution, as the best of many chance matches does. A leak
adds to the exposure of some training people. Two shares can be meant: that of all leaked people, and that of leaked
people beyond those whose exposure stays below the median of control people just as by chance. The second is what any
comparison of exposures can show.

The correction by planted leaks divides by their true positive rate (DUCI: Tong, Ye, Zarifzadeh and Shokri, "How much
of my dataset did you use?", ICLR 2025). The table shows why the audit does not apply it: it is right only if planted
leaks are as strong as the real ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.error_rates import in_batches
from unveil.stats.enrichment import min_exposed
from unveil.stats.exposed_share import RESAMPLES, exposed_share
from unveil.stats.intervals import LEVEL, share
from unveil.stats.person_tests import person_tests
from unveil.types import Floats

SIZES = ((300, 300), (1000, 500))
SHARES = (0.0, 0.01, 0.1, 0.5)
# Added to the exposure of a leaked person, in standard deviations of chance.
STRENGTHS = {"weak": 1.0, "strong": 6.0}
PLANTED = 100
FDR = 0.05
# Share of leaked people and strength: from lists that most audits have to lists that few have.
LISTS = ((0.1, 6.0), (0.5, 3.0), (0.3, 3.0), (0.1, 4.0))
SPREAD = np.pi / np.sqrt(6)  # standard deviation of the standard Gumbel distribution


@dataclass(frozen=True)
class Run:
    """One simulated audit: the estimate and what it should contain."""

    value: float
    low: float
    high: float
    leaked: float
    beyond_chance: float
    exact_low: float
    corrected: dict[str, bool]
    """Whether the corrected interval contains the share of leaked people, by the strength of planted leaks."""


def simulate(n: int, m: int, leaked: float, strength: float, rng: np.random.Generator) -> Run:
    """An audit of ``n`` training and ``m`` control people of whom a share leaked."""
    n_leaked = round(leaked * n)
    training, control = (rng.gumbel(size=size) / SPREAD for size in (n, m))
    training[:n_leaked] += strength
    least = min_exposed(training, control, 1 - LEVEL)
    found = exposed_share(training, control, least, rng)
    # Below the median of chance, leaked people look as if they had not leaked.
    hidden = np.exp(-np.exp(-SPREAD * (-np.log(np.log(2)) / SPREAD - strength)))
    corrected = {}
    for name, factor in (("as strong", 1.0), ("half as strong", 0.5), ("twice as strong", 2.0)):
        planted = rng.gumbel(size=PLANTED) / SPREAD + factor * strength
        interval = _corrected(training, control, planted, rng)
        corrected[name] = interval[0] <= leaked <= interval[1]
    return Run(
        *(found.value, found.low, found.high, n_leaked / n, n_leaked / n * (1 - 2 * float(hidden))),
        *(least / n, corrected),
    )


def _corrected(training: Floats, control: Floats, planted: Floats, rng: np.random.Generator) -> tuple[float, float]:
    """(TPR of training - FPR) / (TPR of planted leaks - FPR) at the median of control people, bootstrap interval."""
    m = len(control)
    half = (m + 1) // 2
    # Resampling people gives an order statistic with a beta distributed rank, and binomial numbers above it.
    score = np.sort(control)[np.minimum(np.floor(m * rng.beta(half, m + 1 - half, RESAMPLES)).astype(int), m - 1)]
    tpr, of_planted = (
        rng.binomial(len(side), 1 - np.searchsorted(np.sort(side), score, side="right") / len(side)) / len(side)
        for side in (training, planted)
    )
    found = (tpr - 0.5) / np.maximum(0.05, of_planted - 0.5)
    low, high = np.clip(np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]), 0, 1)
    return float(low), float(high)


def batch(n: int, m: int, leaked: float, strength: float, seeds: Sequence[int]) -> list[Run]:
    """The runs of some seeds."""
    key = [n, round(1000 * leaked), round(10 * strength)]
    return [simulate(n, m, leaked, strength, np.random.default_rng([seed, *key])) for seed in seeds]


def list_batch(n: int, m: int, leaked: float, strength: float, seeds: Sequence[int]) -> list[tuple[int, int]]:
    """How many of the people whom an audit finds at q .05 are false, and how many it finds, for each seed."""
    found = []
    for seed in seeds:
        rng = np.random.default_rng([seed, n, round(1000 * leaked), round(10 * strength), 1])
        training, control = (rng.gumbel(size=size) / SPREAD for size in (n, m))
        n_leaked = round(leaked * n)
        training[:n_leaked] += strength
        tests = person_tests(training, control)
        significant = tests.conformal(FDR) | tests.gpd(FDR)
        found.append((int(significant[n_leaked:].sum()), int(significant.sum())))
    return found


def list_table(runs: int, pool: ProcessPoolExecutor) -> None:
    """Prints how many findings of a list are false, and how many the report expects."""
    print("\n## False findings of a list\n")
    print(
        f"People found by conformal p-values or the GPD tail at q {FDR:g}. The false discovery rate is the mean share "
        "of false findings, 0 for a run that finds nobody. Expected: q times their number, as the report states.\n"
    )
    heads = (
        *("training, control", "leaked", "strength", "runs that find somebody", "false discovery rate"),
        *("false in a list, mean", "expected in a list, mean"),
    )
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    n, m = SIZES[0]
    for leaked, strength in LISTS:
        done = in_batches(partial(list_batch, n, m, leaked, strength), runs, pool)
        false, significant = np.array(done).T
        some = significant > 0
        rate = false / np.maximum(1, significant)
        expected = FDR * significant[some].mean()
        print(
            f"| {n}, {m} | {leaked:.0%} | {strength:g} | {some.mean():.0%} | {rate.mean():.4f} "
            f"({rate.std() / np.sqrt(runs):.4f}) | {false[some].mean():.2f} | {expected:.2f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, help="of each row")
    parser.add_argument("--workers", type=int, default=None, help="processes; by default one a core")
    args = parser.parse_args()
    runs = args.runs
    print(f"# Share of exposed people, {runs} simulated audits a row\n")
    print(
        "Made by `python -m benchmarks.exposed_share`. Chance is a Gumbel distribution; a weak leak adds "
        f"{STRENGTHS['weak']:g}, a strong one {STRENGTHS['strong']:g} of its standard deviations.\n"
    )
    print(
        "- Coverage: share of runs whose 95% interval contains the share of all leaked people, or the share of them "
        "that is beyond chance.\n"
        "- Lower end holds: share of runs whose interval begins at or below the share of leaked people. 97.5% is "
        "nominal.\n"
        "- Exact limit: mean of the exact lower limit, which needs no estimate.\n"
        "- Corrected: coverage of all leaked people if the estimate were divided by the true positive rate of "
        f"{PLANTED} planted leaks, which are as strong as the real leaks, half or twice as strong.\n"
    )
    heads = (
        *("training, control", "leaked", "leak", "mean estimate", "mean interval", "exact limit"),
        *("coverage, all leaked", "coverage, beyond chance", "lower end holds"),
        *("corrected, as strong", "half as strong", "twice as strong"),
    )
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    with ProcessPoolExecutor(args.workers) as pool:
        for n, m in SIZES:
            for leaked in SHARES:
                for name, strength in STRENGTHS.items():
                    if not leaked and name == "strong":
                        continue
                    done = in_batches(partial(batch, n, m, leaked, strength), runs, pool)
                    print(
                        f"| {n}, {m} | {leaked:.0%} | {name if leaked else 'none'} | "
                        + " | ".join(_cells(done))
                        + " |",
                        flush=True,
                    )
        list_table(runs, pool)


def _cells(runs: list[Run]) -> list[str]:
    means = [float(np.mean([getattr(r, name) for r in runs])) for name in ("value", "low", "high", "exact_low")]
    held = (
        [r.low <= r.leaked <= r.high for r in runs],
        [r.low <= r.beyond_chance <= r.high for r in runs],
        [r.low <= r.leaked for r in runs],
        *([r.corrected[name] for r in runs] for name in runs[0].corrected),
    )
    shares = [share(sum(which), len(which)) for which in held]
    return [
        f"{means[0]:.1%}",
        f"{means[1]:.1%} to {means[2]:.1%}",
        f"{means[3]:.1%}",
        *(f"{100 * e.value:.1f}% ({100 * e.low:.1f} to {100 * e.high:.1f})" for e in shares),
    ]


if __name__ == "__main__":
    main()
