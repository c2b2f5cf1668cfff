"""How often does an audit find something where nothing leaks? Simulated exposures, every basis of the verdict.

    python benchmarks/null_verdicts.py --runs 2000

Training and control people draw their exposure from one distribution, and synthetic identities their best match from
another that does not know who is in the training set. Prints the share of runs with a false finding, by basis and for
the verdict as a whole, with Clopper-Pearson intervals.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from unveil.stats.competition import compete
from unveil.stats.conformal import benjamini_hochberg, conformal_p
from unveil.stats.global_test import global_test
from unveil.stats.membership import share
from unveil.stats.tail import fit_tail
from unveil.stats.verdict import calibrated_verdict
from unveil.types import Floats

Q, GLOBAL_LEVEL = 0.05, 0.01
BASES = ("global test", "counted", "modelled tail", "identities")
# Training people, control people, synthetic identities.
SIZES = ((200, 200, 200), (1000, 300, 500), (300, 1000, 500), (1500, 1500, 700))


def shapes(rng: np.random.Generator) -> dict[str, Callable[[int], Floats]]:
    """Exposures are maxima, so Gumbel is their natural form; the others bend its tail either way."""
    return {
        "Gumbel": lambda n: rng.gumbel(size=n),
        "normal": lambda n: rng.normal(size=n),
        "heavy (shape .15)": lambda n: rng.pareto(1 / 0.15, size=n),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, help="of each row")
    runs = parser.parse_args().runs
    print(
        f"share of {runs} runs with a false finding, q {Q}, global level {GLOBAL_LEVEL}; 95% interval of the verdict\n"
    )
    print("| exposures | training, control, identities | " + " | ".join(BASES) + " | any: leak found |")
    print("|---|---|" + "---|" * (len(BASES) + 1))
    for name in shapes(np.random.default_rng(0)):
        for n_t, n_c, n_i in SIZES:
            rng = np.random.default_rng([n_t, n_c, len(name)])
            draw = shapes(rng)[name]
            seen = dict.fromkeys(BASES, 0)
            found = 0
            for _ in range(runs):
                bases = null_run(draw, rng, n_t, n_c, n_i)
                for basis in bases:
                    seen[basis] += 1
                found += bool(bases)
            told = share(found, runs)
            cells = " | ".join(f"{seen[b] / runs:.4f}" for b in BASES)
            print(
                f"| {name} | {n_t}, {n_c}, {n_i} | {cells} | {told.value:.4f} ({told.low:.4f} to {told.high:.4f}) |",
                flush=True,
            )


def null_run(draw: Callable[[int], Floats], rng: np.random.Generator, n_t: int, n_c: int, n_i: int) -> tuple[str, ...]:
    """What the verdict of one audit without any leak rests on."""
    training, control = draw(n_t), draw(n_c)
    counted = (benjamini_hochberg(conformal_p(training, control)) <= Q).sum()
    tail = fit_tail(control)
    modelled = 0 if tail is None else (benjamini_hochberg(tail.p_values(training)) <= Q).sum()
    identities = compete(draw(n_i), rng.random(n_i) < n_t / (n_t + n_c), n_t / n_c, Q)
    _, bases = calibrated_verdict(
        [],
        global_test(training, control).p_value,
        GLOBAL_LEVEL,
        int(counted),
        int(modelled),
        int((identities.q <= Q).sum()),
    )
    return bases


if __name__ == "__main__":
    main()
