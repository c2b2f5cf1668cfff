"""From which cosine two people match by face, and how many different people do so by chance."""

from __future__ import annotations

import numpy as np

from unveil.analysis.shared_people import FaceMatches
from unveil.choices import SetName
from unveil.config.overlap import OverlapSettings
from unveil.errors import SettingError
from unveil.results import MatchThreshold
from unveil.stats.false_match_tail import MIN_PAIRS, FalseMatchTail


def match_threshold(
    settings: OverlapSettings,
    found: FaceMatches,
    tail: FalseMatchTail | None,
    measured_on: tuple[SetName, ...],
    n_people_pairs: int,
    *,
    labelled: bool,
) -> MatchThreshold | None:
    """The threshold that the settings ask for; None where nothing tells one and none was named.

    ``labelled`` says that people inside a set are told apart by labels. Raises SettingError for a false match rate
    that these sets cannot measure.
    """
    rule = settings.threshold
    if tail is None:
        if rule.kind == "fmr":
            raise SettingError(
                f"--threshold: expected a set with at least {MIN_PAIRS} pairs of different people to measure a false "
                "match rate, found none. Name a cosine, or leave --threshold out"
            )
        why = "as set by the user; no set has enough people to measure its false matches"
        return None if rule.kind == "significant" else MatchThreshold(rule.value, why, None, None, None, (), False)
    if rule.kind == "cosine":
        cosine, why = rule.value, "as set by the user"
        if cosine < tail.threshold:
            why += f"; false matches are measured from {tail.threshold:.3f} upwards"
            return MatchThreshold(cosine, why, None, None, None, (), False)
    elif rule.kind == "fmr":
        reached = tail.cosine_of(rule.value * n_people_pairs)
        if reached is None:
            smallest = tail.smallest / n_people_pairs
            raise SettingError(
                f"--threshold: expected a false match rate that these sets can measure, at least {smallest:.1e}, found "
                f"{rule.value:g}. Use a higher rate or a cosine"
            )
        cosine, why = reached, f"the false match rate of {rule.value:g} that the user asked for"
    else:
        lowest = found.significant_from(settings.fdr)
        if lowest is None:
            # Nobody matches: what a match would have needed.
            one = tail.cosine_of(settings.fdr)
            closest = float(found.people.cosine.max(initial=-1.0))
            cosine = float(np.nextafter(closest, 2.0)) if one is None else one
            why = f"no pair matches by face; one alone would where at most {settings.fdr:g} false pairs are expected"
        else:
            cosine, why = lowest, f"at most {settings.fdr:.0%} of the pairs that match by face are expected to be false"
    return MatchThreshold(
        cosine=cosine,
        why=why,
        false_match_rate=tail.estimate(cosine, 1 / n_people_pairs, "share of comparisons of two different people"),
        expected_false=tail.estimate(cosine, 1.0, "pairs of different people"),
        expected_false_counted=tail.counted(cosine),
        measured_on=measured_on,
        upper_limit=not labelled,
    )
