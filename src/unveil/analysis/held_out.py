"""Whether control people are in the synthetic set themselves, judged without the training people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from unveil.analysis.cohort import ChannelContext, channel_context, pooled_cohort
from unveil.analysis.comparisons import FIRST_CHANNEL, Comparison, Comparisons
from unveil.analysis.recorrection import Listed, best_by_offsets
from unveil.analysis.scores import ChannelMatches, RealSide
from unveil.analysis.searches import can_be_searched, search
from unveil.compare import Ranking
from unveil.stats.checks import Check, Status
from unveil.stats.intervals import binomial_p, exact_count
from unveil.stats.no_control import SearchTests
from unveil.stats.statements import NONE_DETECTED
from unveil.stats.verdict import blocked
from unveil.types import Embedded, Floats, Ints, Matches

# Of each of four tests, so that at most 1% of audits fail whose control people were held out.
LEVEL = 0.0025
# At most this share of people is assumed to have a near-duplicate in the synthetic set by chance.
NEAR_BY_CHANCE = 0.003


def check_held_out(
    synthetic: Embedded,
    control: RealSide,
    checks: Sequence[Check],
    compare: Comparisons,
    *,
    with_images: bool,
    scored_by: Mapping[str, ChannelContext] | None = None,
) -> tuple[Check, ...]:
    """The check that blocks "none detected" where control people are closer to the synthetic set than chance explains.

    Training and control people who are reproduced alike give no finding. So the near-duplicates of control people are
    counted, and control people are tested as training people are without a control set: by searches among each other.
    No check where neither can be done. ``with_images`` says that near-duplicates were looked for. ``scored_by`` are the
    contexts by which the matches of ``control`` were made: with them, its lists by every channel save comparisons.
    """
    images = control.images
    n_people = len(control.people[0])
    found: list[int] = []
    if with_images:
        near = int(control.people_with_near_duplicate(np.arange(len(images))).sum())
        found.append(near if binomial_p(near, n_people, NEAR_BY_CHANCE) <= LEVEL else 0)
    if len(synthetic) and can_be_searched(images):
        cohort = pooled_cohort(images.take(np.zeros(0, np.int64)), images, compare.backend)
        contexts = {
            c: channel_context(synthetic.through(c), cohort.through(c), for_search=True) for c in synthetic.channels
        }
        side = _closest_control(control, contexts, compare, scored_by or {})
        labels_hold = "identities" not in blocked(checks)
        searches = search(synthetic, side, contexts, labels_hold=labels_hold, role="control")
        if searches is not None:
            found.append(_n_close(searches.tests))
    return (held_out_outcome(max(found), n_people),) if found else ()


def _closest_control(
    control: RealSide,
    contexts: Mapping[str, ChannelContext],
    compare: Comparisons,
    scored_by: Mapping[str, ChannelContext],
) -> RealSide:
    """The control images that are closest to each synthetic image by the hub corrections of these contexts.

    The lists by cosine and by other hub corrections leave few pairs to be compared again.
    """
    by_channel = {}
    for channel, context in contexts.items():
        own = control.images.through(channel)
        correction = context.cohort.correction(own, "control", skip_best=True)

        def among(
            queries: Ints,
            rows: Ints | None,
            own: Embedded = own,
            context: ChannelContext = context,
            correction: Floats = correction,
        ) -> Matches:
            offsets = (
                context.synthetic_correction[queries],
                correction if rows is None else correction[rows],
            )
            return compare.rankings(
                Comparison("held out", own.channel, "control"),
                *(context.synthetic.take(queries), own if rows is None else own.take(rows)),
                [Ranking(1, False, 0, *offsets)],
            )[0]

        lists = []
        if channel == FIRST_CHANNEL:
            lists.append(Listed(control.raw, np.zeros(len(context.synthetic)), np.zeros(len(own))))
        if channel in scored_by:
            scored = control.by_channel[channel]
            lists.append(Listed(scored.corrected, scored_by[channel].synthetic_correction, scored.correction))
        if lists:
            corrected = best_by_offsets(lists, context.synthetic_correction, correction, among)
        else:
            corrected = among(np.arange(len(context.synthetic)), None)
        by_channel[channel] = ChannelMatches(correction, corrected, context.scale, correction)
    return replace(control, by_channel=by_channel)


def _n_close(tests: SearchTests) -> int:
    """How many people are significant at LEVEL, or as many as the crowd test counts, which names nobody."""
    n = int((tests.conformal(LEVEL) | tests.gpd(LEVEL)).sum())
    return max(n, tests.crowd.people) if tests.crowd.p_value <= LEVEL else n


def held_out_outcome(n_close: int, n_people: int) -> Check:
    """The outcome for a number of control people who are closer to the synthetic set than chance explains."""
    message = f"{n_close} of {n_people} control people are closer to the synthetic set than chance explains"
    if n_close:
        message += (
            ": they were probably not held out; use other control people, or leave out those with the highest scores "
            "in exposures.parquet"
        )
    figure = exact_count(n_close, n_people, "control people close to the synthetic set")
    # Such control people raise the bar for training people: findings stay true.
    status: Status = "fail" if n_close else "pass"
    return Check("control people in synthetic", status, figure, message, (NONE_DETECTED,))
