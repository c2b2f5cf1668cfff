"""What gives the people behind each generator away, and what the audit makes of them.

    python -m benchmarks.lab.measure --faces ../shared/data/lfw/lfw_aligned112.zip --sets build/lab \
        --model ../shared/data/models/w600k_mbf/w600k_mbf_dequant_fp32.onnx --out docs/figures/lab

It writes these tables, or those that are asked for:

- scores.csv: how well each score separates the people a generator learnt from all others, for each set;
- paired.csv: the difference of two scores of the same people, with an interval;
- audits.csv: people found and falsely found, for each set and audit, also by the score of version 0.1;
- photographs.csv: as scores.csv, for control people of whom another photograph is added to the synthetic set;
- further.csv: as scores.csv, for scores that the audit does not take;
- nulls.csv: a line for each audit of people whom the generator never saw;
- baselines.csv: the baselines, for each set, channel and training set.

Each set has three audits: of the people it learnt; of those and others, so that false findings are known; and of other
people alone. A set is not measured again for a table that has it.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.lab.paired import PeopleScores, difference
from benchmarks.lab.scores import first_version, further_scores, memorised
from unveil.analysis.baselines import measure_baselines
from unveil.analysis.comparisons import Comparisons
from unveil.analysis.findings import ControlState, Findings
from unveil.analysis.scores import COSINE, RealSide
from unveil.auditor import analyse
from unveil.columns import Labels, Texts
from unveil.compare import open_backend
from unveil.config.channels import channel_config
from unveil.config.parsing import settings_from
from unveil.config.settings import Settings
from unveil.embedding.embedder import AuditEmbedder
from unveil.images import LabelRule, Source, open_source
from unveil.io.run_directory import RunDirectory
from unveil.progress import Silent
from unveil.stats.hubness import person_codes
from unveil.stats.membership import FPRS, auc_estimate, resolves, tpr_at_fpr
from unveil.stats.person_tests import benjamini_hochberg, person_tests
from unveil.types import Embedded, Estimate, Exposure, Floats, Ints, Role

SET = ("family", "people", "steps")
SCORE_COLUMNS = [*SET, "score", "memorised", "auc", "auc_low", "auc_high"] + [
    f"tpr_at_fpr_{fpr:g}{end}" for fpr in FPRS for end in ("", "_low", "_high")
]
AUDIT_COLUMNS = [*SET, "audit", "training_people", "training_members", "verdict", "global_p"] + [
    f"{basis}_{which}" for basis in ("significant", "conformal", "gpd", "identities") for which in ("true", "false")
]
AUDIT_COLUMNS += ["chance_share"]
BASELINE_COLUMNS = [
    *(*SET, "training", "channel"),
    *("authenticity", "data_copying", "closer_to_training", "neighbour_ratio", "gan_leaks_auc"),
]
PAIRED_COLUMNS = [*SET, "score", "against", "rate", "rate_against", "difference", "low", "high", "p_below"]
NULL_COLUMNS = [*SET, "repeat", "verdict", "global_p", "people_significant", "identities_significant"]
LEARNT, MIXED, OTHERS = "people learnt", "and others", "others alone"
AUDIT, FIRST = "all channels", "version 0.1"
# The score of the audit with the labels of the synthetic set taken away, and with them shuffled.
UNLABELLED, SHUFFLED = "without identity evidence", "shuffled labels"
FDR = 0.05
NULLS = 8  # audits of other people a set
# Others among the training people, and in the audit of people whom the generator never saw.
MAX_OTHERS = 500
MAX_PHOTOGRAPHS = 100


TABLES = {
    **{"scores": SCORE_COLUMNS, "paired": PAIRED_COLUMNS, "audits": AUDIT_COLUMNS},
    **{"photographs": SCORE_COLUMNS, "further": SCORE_COLUMNS, "baselines": BASELINE_COLUMNS, "nulls": NULL_COLUMNS},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--sets", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--families", nargs="*", default=None)
    parser.add_argument("--tables", nargs="*", choices=list(TABLES), default=list(TABLES))
    parser.add_argument("--workers", type=int, default=0, help="as of the audit")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    folders = sorted(path.parent for path in args.sets.glob("*/*/*/facts.json"))
    with tempfile.TemporaryDirectory() as work:
        for folder in folders:
            missing = [name for name in args.tables if not _has(args.out / f"{name}.csv", folder)]
            if not missing or (args.families and folder.parts[-3] not in args.families):
                continue
            lab = Lab(folder, args.faces, args.model, Path(work), args.sets / "store", workers=args.workers)
            makers = {
                **{"scores": lab.scores, "paired": lab.paired, "audits": lab.audits},
                **{
                    "photographs": lab.photographs,
                    "further": lab.further,
                    "baselines": lab.baselines,
                    "nulls": lab.nulls,
                },
            }
            # All are made before any is written: a set that was cut off is not in any table.
            rows = {name: list(makers[name]()) for name in missing}
            for name, found in rows.items():
                path = args.out / f"{name}.csv"
                new = not path.exists()
                with path.open("a", newline="") as file:
                    writer = csv.writer(file, lineterminator="\n")
                    writer.writerows([TABLES[name]] if new else [])
                    writer.writerows([*lab.key, *row] for row in found)
            print(*lab.key, flush=True)


def _has(path: Path, folder: Path) -> bool:
    """Whether a table has rows of the set in a folder."""
    facts = json.loads((folder / "facts.json").read_text())
    if not path.exists():
        return False
    with path.open(newline="") as file:
        return any(all(row[name] == str(facts[name]) for name in SET) for row in csv.DictReader(file))


class Lab:
    """One synthetic set, the real faces, and who of them the generator learnt.

    ``aligned`` and ``workers`` are those of the settings.
    """

    def __init__(
        self,
        folder: Path,
        faces: Path,
        model: Path | None,
        work: Path,
        store: Path,
        *,
        aligned: str = "yes",
        workers: int = 0,
    ) -> None:
        facts = json.loads((folder / "facts.json").read_text())
        self.key = [facts[name] for name in SET]
        values: dict[str, Any] = {
            **{"synthetic": folder / "synthetic.zip", "training": faces, "control": faces},
            **{"out": work / "-".join(map(str, self.key)), "store": store, "resamples": 1, "aligned": aligned},
            "workers": workers,
            **({} if model is None else {"model": model}),
        }
        self.settings: Settings = settings_from(values)
        run = RunDirectory(self.settings.out, self.settings.facts())
        sources: dict[Role, Source] = {
            "synthetic": open_source(self.settings.synthetic),
            "training": open_source(faces, LabelRule("folder")),
        }
        sets = AuditEmbedder(
            channel_config(self.settings), sources, store=self.settings.store_place, workers=self.settings.workers
        ).embed_roles(sources, run, self.settings.random("networks"), aligned=self.settings.aligned)
        self.sources = sources
        self.synthetic, self.real = sets["synthetic"].embedded.distinct, sets["training"].embedded
        backend = open_backend(self.settings.backend, self.settings.workers)
        self.compare = Comparisons(run, backend, Silent(), self.settings.top_k, self.settings.top_pairs)
        self.members = set((folder / "members.txt").read_text().splitlines())
        learnt = np.array([person in self.members for person in self.real.people_or_ids])
        self.learnt, held_out = np.flatnonzero(learnt), np.flatnonzero(~learnt)
        self.held_out = held_out
        others, rest = self._others(np.random.default_rng(facts["seed"]))
        self.wanted = {
            LEARNT: (self.learnt, held_out),
            MIXED: (np.concatenate([self.learnt, others]), rest),
            OTHERS: (others, rest),
        }

    def _others(self, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Images of random people whom the generator never saw, and those of all others it never saw."""
        people = np.array([self.real.people_or_ids[i] for i in self.held_out])
        names = np.unique(people)
        other = np.isin(people, rng.permutation(names)[: min(MAX_OTHERS, len(names) // 3)])
        return self.held_out[other], self.held_out[~other]

    @cached_property
    def found(self) -> dict[str, Findings]:
        """The three audits."""
        return {name: self.analyse(training, control) for name, (training, control) in self.wanted.items()}

    def analyse(self, training: Ints, control: Ints, synthetic: Embedded | None = None) -> Findings:
        t, c = self.real.take(np.sort(training)), self.real.take(control)
        return analyse(self.settings, synthetic or self.synthetic, t, c, [], self.compare, {})

    @cached_property
    def relabelled(self) -> dict[str, Findings]:
        """The audit of the people learnt without the labels of the synthetic set, and with shuffled ones; empty where
        it has none."""
        people = self.synthetic.people
        if people.n_missing == len(people):
            return {}
        order = np.random.default_rng(0).permutation(len(people))
        labels = {UNLABELLED: Labels.missing(len(people)), SHUFFLED: people.take(order)}
        return {
            name: self.analyse(*self.wanted[LEARNT], replace(self.synthetic, people=people))
            for name, people in labels.items()
        }

    @cached_property
    def people_scores(self) -> dict[str, PeopleScores]:
        """The score of each person in the audit of the people learnt, by the name of the score."""
        found = self.found[LEARNT]
        by = {AUDIT: found, **self.relabelled}
        return {
            **{name: PeopleScores(*(_by_name(e) for e in _exposures(of, None))) for name, of in by.items()},
            "cosine": PeopleScores(*(_by_name(e) for e in _exposures(found, COSINE))),
            FIRST: self.first_version(found),
        }

    def first_version(self, found: Findings) -> PeopleScores:
        """The score of version 0.1 of the people in an audit."""
        row = {id: i for i, id in enumerate(self.real.ids)}
        sides = [np.array([row[side.images.ids[i]] for i in rows], np.int64) for side, rows in _tested(found)]
        score = first_version(self.synthetic, self.real, sides[1], np.random.default_rng(0))
        return PeopleScores(*(self._best_of_people(score, rows) for rows in sides))

    def _best_of_people(self, score: Floats, rows: Ints) -> dict[str, float]:
        """The best score of each person over some images, without those that have none."""
        rows = rows[~np.isnan(score[rows])]
        names, codes = person_codes([self.real.people_or_ids[i] for i in rows])
        best = np.full(len(names), -np.inf)
        np.maximum.at(best, codes, score[rows])
        return dict(zip(names, best.tolist(), strict=True))

    def scores(self) -> Iterator[list[object]]:
        """How well each score separates people who were learnt from all others."""
        found = self.found[LEARNT]
        if found.calibration is None:
            raise SystemExit(f"{self.key}: {[c.message for c in found.checks if c.status == 'fail']}")
        for m in found.calibration.membership:
            yield [m.score, self.memorised, *_figures(m.auc, m.tpr_at_fpr)]
        rng = np.random.default_rng(0)
        for name in (FIRST, *self.relabelled):
            of = self.people_scores[name]
            own, null = (np.array(list(side.values())) for side in (of.training, of.control))
            yield [name, self.memorised, *_compared(own, null, rng)]

    @cached_property
    def memorised(self) -> str:
        return f"{memorised(self.sources['synthetic'], self.sources['training'], self.members):.4f}"

    def further(self) -> Iterator[list[object]]:
        """The same for scores that the audit does not take."""
        found, rng = self.found[LEARNT], np.random.default_rng(0)
        cohort = found.contexts["face"].cohort.images.ids
        for name, score, people in further_scores(self.synthetic, self.real, cohort, self.sources, rng):
            yield [name, self.memorised, *_compared(*self._sides(score, people, found), rng)]

    def photographs(self) -> Iterator[list[object]]:
        """How well each score finds people whom the generator never saw by another photograph of them, which is moved
        to the synthetic set: a leak that only a face model sees. The people learnt take no part."""
        names, codes = person_codes([self.real.people_or_ids[i] for i in self.held_out])
        several = np.flatnonzero(np.bincount(codes) > 1)
        chosen = np.random.default_rng(9).permutation(several)[: min(MAX_PHOTOGRAPHS, len(names) // 3)]
        if not len(chosen):
            return
        rows, control = (self.held_out[part] for part in (np.isin(codes, chosen), ~np.isin(codes, chosen)))
        moved = rows[np.unique(codes[np.isin(codes, chosen)], return_index=True)[1]]
        images = self.real.take(np.sort(moved))
        ids = Texts(f"photograph/{id}" for id in images.ids)
        added = replace(images, ids=ids, people=Labels.missing(len(images)))
        found = self.analyse(np.setdiff1d(rows, moved), control, self.synthetic.joined(added))
        if found.calibration is not None:
            for m in found.calibration.membership:
                yield [m.score, self.memorised, *_figures(m.auc, m.tpr_at_fpr)]

    def paired(self) -> Iterator[list[object]]:
        """Pairs of scores of the same people that should differ in one direction only, or not at all."""
        pairs = [(AUDIT, "cosine"), (AUDIT, FIRST)]
        if self.relabelled:
            pairs += [(AUDIT, UNLABELLED), (SHUFFLED, UNLABELLED)]
        for score, against in pairs:
            d = difference(self.people_scores[score], self.people_scores[against], np.random.default_rng(0))
            yield [score, against, *(f"{v:.4f}" for v in (d.rate, d.other, d.value, d.low, d.high, d.p_below))]

    def _sides(self, score: Floats, people: Sequence[str], found: Findings) -> tuple[Floats, Floats]:
        """The scores of people who were learnt and of the control people of the audit."""
        control = set(_control(found).side.images.people_or_ids)
        own = np.array([person in self.members for person in people])
        null = np.array([person in control for person in people])
        return score[own], score[null]

    def audits(self) -> Iterator[list[object]]:
        """People found and falsely found at q .05, and the verdict."""
        for name, found in self.found.items():
            yield [name, *self._audited(found)]
            if found.calibration is not None:
                yield [f"{name}, {FIRST}", *self._by_first_version(found)]

    def _by_first_version(self, found: Findings) -> list[object]:
        """What the tests of version 0.1 make of its score; it has neither verdict nor identities here.

        Its conformal q were those of Benjamini and Hochberg.
        """
        of = self.first_version(found)
        training, control = (np.array(list(side.values())) for side in (of.training, of.control))
        tests = person_tests(training, control)
        learnt = np.array([person in self.members for person in of.training])
        by = (benjamini_hochberg(tests.p) <= FDR, tests.gpd(FDR))
        return [
            *(len(learnt), int(learnt.sum()), "", f"{tests.global_test.p_value:.3g}"),
            *(int((who & (learnt == wanted)).sum()) for who in (by[0] | by[1], *by) for wanted in (True, False)),
            *("", "", ""),
        ]

    def _audited(self, found: Findings) -> list[object]:
        if found.calibration is None or found.exposures is None:
            return [0, 0, found.verdict, "", *[0] * 8, ""]
        lists = (
            [p.person for p in found.people if p.significant_by],
            [p.person for p in found.people if "conformal" in p.significant_by],
            [p.person for p in found.people if "GPD tail" in p.significant_by],
            [str(i.training_id).split("/")[0] for i in found.identities if i.significant],
        )
        people = found.exposures.training.people
        return [
            *(len(people), sum(p in self.members for p in people), found.verdict),
            f"{found.calibration.global_test.p_value:.3g}",
            *(sum((p in self.members) == wanted for p in who) for who in lists for wanted in (True, False)),
            f"{found.calibration.detection_limit.chance_share:.4f}",
        ]

    def nulls(self) -> Iterator[list[object]]:
        """Audits of other people alone, whom the generator never saw, drawn anew each time."""
        for repeat in range(NULLS):
            found = self.analyse(*self._others(np.random.default_rng([repeat, 7])))
            if found.calibration is not None:
                basis = [bool(found.significant_people), any(i.significant for i in found.identities)]
                p = found.calibration.global_test.p_value
                yield [repeat, found.verdict, f"{p:.3g}", *(int(b) for b in basis)]

    def baselines(self) -> Iterator[list[object]]:
        """The baselines, with the people learnt and with others for a training set."""
        for name in (LEARNT, OTHERS):
            found = self.found[name]
            for m in measure_baselines(self.synthetic, found, self.settings.random, self.compare.backend):
                values = (m.authenticity.value, m.data_copying.value, m.closer_to_training.value)
                yield [
                    name,
                    m.channel,
                    *(f"{v:.3f}" for v in (*values, m.neighbour_ratio.value, m.gan_leaks_auc.value)),
                ]


def _control(found: Findings) -> ControlState:
    if found.control is None:
        raise ValueError("no control people")
    return found.control


def _tested(found: Findings) -> tuple[tuple[RealSide, Ints], tuple[RealSide, Ints]]:
    """Both sides of an audit, each with the rows of the images that were tested."""
    control = _control(found)
    return (found.training, control.subsample.training), (control.side, control.subsample.control)


def _exposures(found: Findings, by: str | None) -> tuple[Exposure, Exposure]:
    """The exposures of training and control people, as tested; ``by`` as in `RealSide.exposure`."""
    training, control = (side.exposure(rows, by) for side, rows in _tested(found))
    return training, control


def _by_name(exposure: Exposure) -> dict[str, float]:
    return dict(zip(exposure.people, exposure.score.tolist(), strict=True))


def _compared(own: Floats, null: Floats, rng: np.random.Generator) -> list[str]:
    rates = {f"{fpr:g}": tpr_at_fpr(own, null, fpr) if resolves(fpr, len(null)) else None for fpr in FPRS}
    return _figures(auc_estimate(own, null, rng), rates)


def _figures(auc: Estimate, rates: Mapping[str, Estimate | None]) -> list[str]:
    """Values and intervals; `nan` for a rate that too few control people can show."""
    shown = [(np.nan,) * 3 if e is None else (e.value, e.low, e.high) for e in (auc, *rates.values())]
    return [f"{v:.4f}" for values in shown for v in values]


if __name__ == "__main__":
    main()
