"""The statement without a control set: synthetic images against searches of training people among each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from unveil.analysis.cohort import ChannelContext, chosen_by_digest, first_images
from unveil.analysis.findings import best_pair
from unveil.analysis.scores import RealSide
from unveil.columns import Labels, People, Texts
from unveil.compare import Backend, best_of_others
from unveil.results import IdentityFindings, ImprobablePair, NoControl, PersonFinding, SearchShift
from unveil.stats.checks import Check
from unveil.stats.hubness import best_of_each, n_agreeing, person_codes
from unveil.stats.intervals import exact_count
from unveil.stats.no_control import (
    CLUMP,
    MIN_SEARCHES,
    SearchTests,
    Shift,
    below_median,
    far_beyond,
    fit_shift,
    search_p,
    search_tests,
)
from unveil.stats.score_scale import fit_score_scale, max_over_channels, of_channel
from unveil.stats.statements import NONE_DETECTED, WITHOUT_CONTROL, Evidence
from unveil.stats.tail import fit_tail
from unveil.types import Embedded, Floats, Ints, Matches, Role

# More searches resolve a smaller p and cost comparisons.
MAX_SEARCHES = 10_000
# A pair is improbable if fewer false matches than this are expected at its cosine.
IMPROBABLE = 0.05
MAX_IMPROBABLE = 100
# From this share of people on who are one by their files, searches among the others are too few to show chance.
MAX_JOINED = 0.25


@dataclass(frozen=True)
class Searches:
    """The training side on the scale of the searches, and the tests of the synthetic set against them.

    ``score`` (Q,) is the corrected score of each synthetic image with the training image ``row`` (Q,) that it is
    closest to, by ``channel`` (Q,); ``person`` (Q,) is the code of its person. ``identity`` (Q,) are the codes of the
    tested units, ``null`` (S,) the scores of the searches.
    """

    side: RealSide
    contexts: Mapping[str, ChannelContext]
    score: Floats
    row: Ints
    channel: Ints
    person: Ints
    identity: Ints
    null: Floats
    shifts: Mapping[str, Shift]
    tests: SearchTests

    def evidence(self, fdr: float, level: float) -> tuple[Evidence, ...]:
        """The evidence of a leak, before failed checks are applied."""
        found: dict[Evidence, bool] = {
            "crowd test": self.tests.crowd.p_value <= level,
            "conformal search": bool(self.tests.conformal(fdr).any()),
            "GPD search": bool(self.tests.gpd(fdr).any()),
        }
        return tuple(name for name, holds in found.items() if holds)

    def statement(self, why: str) -> NoControl:
        """The record of the statement, and ``why`` it is made."""
        n_units = int(self.identity.max()) + 1
        tail = self.tests.tail
        return NoControl(
            why=why,
            n_searches=len(self.null),
            unit="image" if n_units == len(self.identity) else "identity",
            n_units=n_units,
            crowd_test=self.tests.crowd,
            smallest_p=float(search_p(np.array([np.inf]), self.null)[0]),
            smallest_p_gpd=None if tail is None else tail.smallest_p,
            below_median=below_median(self.score, self.identity, self.null),
            shifts=tuple(
                SearchShift(channel, shift.location, shift.spread_ratio, shift.correction, shift.factor)
                for channel, shift in self.shifts.items()
            ),
        )

    def people(self, synthetic: Embedded, fdr: float) -> tuple[PersonFinding, ...]:
        """Every training person, most exposed first, with p and q.

        A significant person is shown with the image that is closest to them and to nobody else.
        """
        tests, exposed = self.tests, self.side.exposure()
        conformal, gpd = tests.conformal(fdr), tests.gpd(fdr)
        closest = {int(self.person[i]): int(i) for i in best_of_each(self.person, self.score)}
        found = []
        for i in range(len(exposed)):
            finding = best_pair(exposed, i, synthetic, self.side)
            evidence: list[Evidence] = [
                *(("conformal search",) if conformal[i] else ()),
                *(("GPD search",) if gpd[i] else ()),
            ]
            if evidence:
                finding = self._pair(finding, closest[i], synthetic)
            found.append(
                replace(
                    finding,
                    p=float(tests.people_p[i]),
                    q=float(tests.people_q[i]),
                    p_gpd=None if tests.people_p_gpd is None else float(tests.people_p_gpd[i]),
                    q_gpd=None if tests.people_q_gpd is None else float(tests.people_q_gpd[i]),
                    significant_by=tuple(evidence),
                )
            )
        return tuple(sorted(found, key=lambda p: -p.score))

    def _pair(self, finding: PersonFinding, query: int, synthetic: Embedded) -> PersonFinding:
        name = synthetic.channels[self.channel[query]]
        matches = self.side.by_channel[name]
        return replace(
            finding,
            score=float(matches.scale.of(matches.corrected.score[query, 0])),
            cosine=float(matches.corrected.cosine[query, 0]),
            synthetic_id=synthetic.ids[query],
            training_id=self.side.images.ids[self.row[query]],
            channel=name,
        )

    def identities(self, synthetic: Embedded, fdr: float) -> IdentityFindings:
        """Every synthetic identity, smallest q first. A significant one is closest to a significant person."""
        names, codes = person_codes(synthetic.people_or_ids)
        # Identities that are no units of the tests, since labels do not hold, are never significant.
        tested = np.array_equal(codes, self.identity)
        q = self.tests.identity_q if tested else np.ones(len(names))
        q_gpd = self.tests.identity_q_gpd if tested else None
        low = q if q_gpd is None else np.minimum(q, q_gpd)
        significant_people = self.tests.conformal(fdr) | self.tests.gpd(fdr)
        best = best_of_each(codes, self.score)
        n_images = np.bincount(codes)
        agreeing = n_agreeing(codes, self.person, best)
        order = np.lexsort((-self.score[best], low))
        best = best[order]
        return IdentityFindings(
            identity=names.take(order),
            score=self.score[best],
            q=q[order] if tested else None,
            n_images=n_images[order],
            n_agreeing=agreeing[order],
            synthetic_id=synthetic.ids.take(best),
            training_id=Labels(self.side.images.ids, self.row[best]),
            channel=People(Texts(list(synthetic.channels)), self.channel[best]),
            significant=(low[order] <= fdr) & significant_people[self.person[best]],
            q_gpd=None if q_gpd is None else q_gpd[order],
        )


def can_be_searched(training: Embedded) -> bool:
    """Whether enough training people have labels to show what chance is."""
    labelled = training.people.n_missing < len(training)
    return labelled and len(training.people_or_ids.coded()[0]) >= MIN_SEARCHES


def _probes(training: Embedded) -> tuple[Ints, Ints] | None:
    """Rows (S,) of the first image of each training person, or of MAX_SEARCHES of them, and the person of each image.

    None if chance is unknown. Which people are searched for depends on their images alone, and on no seed.
    """
    if not can_be_searched(training):
        return None
    people = _people(training)
    # Of people who all share a file, nobody has others to be searched among.
    if (people == people[0]).all():
        return None
    first = first_images(training.people_or_ids)
    return first[chosen_by_digest(training.digests.take(first), MAX_SEARCHES)], people


def search(
    synthetic: Embedded,
    side: RealSide,
    contexts: Mapping[str, ChannelContext],
    *,
    labels_hold: bool,
    role: Role = "training",
) -> Searches | None:
    """Searches training people among each other, and tests the scored synthetic images against them.

    ``side`` is the training side with the best matches of each synthetic image, or that of another ``role`` whose
    people alone are the cohort; both corrections leave out the best match. Without ``labels_hold`` the labels of
    synthetic images are not used. None where chance is unknown.
    """
    training = side.images
    chosen = _probes(training) if len(synthetic) else None
    if chosen is None:
        return None
    rows, people = chosen
    _, codes = person_codes(synthetic.people_or_ids)
    identity = codes if labels_hold else np.arange(len(synthetic))
    n_units = int(identity.max()) + 1
    probes = training.take(rows)
    sought = people[rows]
    null, shifts, by_channel, of_synthetic = [], {}, {}, []
    for channel, matches in side.by_channel.items():
        context = contexts[channel]
        some, everyone = probes.through(channel), training.through(channel)
        own, bulk_real = context.cohort.correction_and_mean_score(some, role)
        bulk_synthetic = context.mean_score
        if bulk_synthetic is None:
            raise ValueError("the contexts of a search need mean scores")
        score = best_of_others(
            *(some.vectors, sought, everyone.vectors, people),
            *(own, matches.correction, context.cohort.backend),
        )[1]
        scale = fit_score_scale(score)
        shifts[channel] = fit_shift(bulk_synthetic, bulk_real, n_units)
        by_channel[channel] = replace(matches, scale=scale)
        null.append(scale.of(score))
        of_synthetic.append(scale.of(shifts[channel].of(matches.corrected.score[:, 0])))
    side = replace(side, by_channel=by_channel)
    channel_of, best = max_over_channels(of_synthetic)
    row = of_channel(channel_of, [matches.corrected.rows[:, 0] for matches in by_channel.values()])
    names, codes_t = side.people
    null_best = max_over_channels(null)[1]
    return Searches(
        side=side,
        contexts={channel: replace(context, scale=by_channel[channel].scale) for channel, context in contexts.items()},
        score=best,
        row=row,
        channel=channel_of,
        person=codes_t[row],
        identity=identity,
        null=null_best,
        shifts=shifts,
        tests=search_tests(best, codes_t[row], identity, null_best, len(names)),
    )


def _people(training: Embedded) -> Ints:
    """The code (N,) of the person of each image. People who share a file are one: they are no false match."""
    names, codes = person_codes(training.people_or_ids)
    if not len(training.digests.repeats()):
        return codes
    _, files = training.digests.coded()
    first = np.unique(files, return_index=True)[1]
    shared = np.flatnonzero(codes[first][files] != codes)
    parent = list(range(len(names)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for row in shared:
        parent[root(int(codes[row]))] = root(int(codes[first[files[row]]]))
    return np.array([root(code) for code in range(len(names))], np.int64)[codes]


def shared_files_check(training: Embedded) -> tuple[Check, ...]:
    """The check that blocks searches where many people share a file: being one, they search among the rest alone.

    Empty where few do.
    """
    if not can_be_searched(training):
        return ()
    joined = np.bincount(_people(training)[first_images(training.people_or_ids)])
    n, total = int(joined.max()), int(joined.sum())
    if n < MAX_JOINED * total:
        return ()
    message = (
        f"{n:,} of {total:,} training people share files, so searches of them show too little of what chance is; "
        "remove these files from the training set, or give a control set"
    )
    figure = exact_count(n, total, "training people who share files with each other")
    return (Check("shared files of training", "fail", figure, message, (*WITHOUT_CONTROL, NONE_DETECTED)),)


def improbable_pairs(
    synthetic: Embedded, training: Embedded, raw: Matches, backend: Backend
) -> tuple[ImprobablePair, ...]:
    """Synthetic images that are closer to a training image than false matches are, by uncorrected cosine.

    Every training person is searched for among the others. An image is improbable if fewer than IMPROBABLE of all
    synthetic images are expected to come as close to anybody. The expectation is that of a GPD tail where there is one,
    so it reaches beyond what counting can resolve. For a pair `far_beyond` all searches it is that of an exponential
    tail, which has no least value. Empty where chance is unknown.
    """
    chosen = _probes(training) if len(synthetic) else None
    if chosen is None:
        return ()
    rows, people = chosen
    null = best_of_others(
        *(training.vectors[rows], people[rows], training.vectors, people),
        *(np.zeros(len(rows)), np.zeros(len(training)), backend),
    )[1]
    cosine, row = raw.cosine[:, 0], raw.rows[:, 0]
    p = search_p(cosine, null)
    tail = fit_tail(null, CLUMP)
    if tail is not None:
        # Beyond the threshold p falls as the cosine rises, so that no more than the closest can be among those shown.
        beyond = np.flatnonzero(cosine > tail.threshold)
        closest = beyond[np.argsort(-cosine[beyond], kind="stable")[:MAX_IMPROBABLE]]
        p[beyond] = np.inf
        p[closest] = tail.p_values(cosine[closest])
        far = closest[far_beyond(cosine[closest], null)]
        p[far] = np.minimum(p[far], tail.exponential_p(cosine[far]))
    expected = p * len(synthetic)
    found = np.flatnonzero(expected < IMPROBABLE)
    found = found[np.argsort(-cosine[found], kind="stable")][:MAX_IMPROBABLE]
    names = training.people_or_ids
    return tuple(
        ImprobablePair(synthetic.ids[i], training.ids[row[i]], names[row[i]], float(cosine[i]), float(expected[i]))
        for i in found
    )
