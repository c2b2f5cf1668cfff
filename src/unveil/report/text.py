"""The sentences of a result: headline, limitations, and the methods behind numbers. All are written before the record
is built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from unveil.choices import NO_LEAK, AuditVerdict
from unveil.faces.models.table import DEFAULT_MODEL
from unveil.report.units import IMAGES, IMAGES_COUNT, PEOPLE, Unit, unit_of
from unveil.results import (
    Calibration,
    GPDFit,
    IdentityFindings,
    ImageCopy,
    InputFacts,
    LabelLink,
    Method,
    ModelFacts,
    NoControl,
    PersonFinding,
    Power,
    Review,
    RoleCounts,
    Stratum,
    fewest_people,
)
from unveil.stats.checks import Check
from unveil.stats.enrichment import ALL_CHANNELS, GlobalTest
from unveil.stats.leak_kinds import CopyThresholds
from unveil.stats.list_errors import expected_false
from unveil.stats.no_control import MIN_SEARCHES
from unveil.stats.power import FOUND
from unveil.stats.statements import (
    AGAINST_CONTROL,
    ALL_BUT_FACTS,
    FACTS,
    OF_IMAGES,
    WITHOUT_CONTROL,
    Evidence,
    Statement,
)
from unveil.stats.strata import CONCENTRATED
from unveil.types import Estimate, Role

# Stands at the top of what is written from a run that this user did not sign.
NOT_OWN = (
    "Somebody else made this run: it is not signed with the key of the user who wrote this report. Its vectors, scores "
    "and verdict are used as they are; none was measured again."
)
# A kind of planted leak in a sentence: with its strength, and without.
PERTURBATION_NAMES = {
    "re-encode": ("re-encoded as JPEG ({})", "re-encoded as JPEG"),
    "blur": ("blurred ({})", "blurred"),
    "downsample": ("downsampled {}", "downsampled"),
    "flip": ("mirrored", "mirrored"),
    "rotate": ("rotated by {}", "rotated"),
    "colour": ("{}", "faded"),
    "occlude": ("{}", "partly hidden"),
    "blend": ("blended ({})", "blended with another image"),
    "realign": ("aligned differently ({})", "aligned differently"),
    "identity match": ("another photograph of the person", "another photograph of the person"),
}
# What each kind of leak is.
KIND_MEANINGS = {
    "exact copy": "The training image itself, identical byte by byte or pixel by pixel.",
    "near-identical copy": "As similar to the training image as that image re-encoded, resized or mirrored.",
    "similar image": "More similar to the training image than other images of one person are: a changed copy, or a new "
    "image with the same pose and light.",
    "appearance match": "Shares pose, light and composition with a training image beyond chance.",
    "identity match": "Another image of a training person.",
}
# What each test of the evidence says, in a sentence for readers who know no statistics.
EVIDENCE_MEANINGS: dict[Evidence, str] = {
    "exact copy": "synthetic images are training images, identical byte by byte or pixel by pixel",
    "near-identical copy": "synthetic images are as similar to training images as these are when re-encoded, resized "
    "or mirrored",
    "label link": "synthetic classes resemble the training classes of the same label more than other training classes",
    "global test": "training people as a group are closer to the synthetic set than control people",
    "conformal": "single training people are closer than almost all control people",
    "GPD tail": "single training people are closer than a model fitted to the closest control people allows",
    "identities": "synthetic identities match training people more often than control people",
    "learned score": "single training people differ from control people in what several scores say together",
    "crowd test": "more training people than chance allows are as close to synthetic images as real people rarely are "
    "to others",
    "conformal search": "single training people are closer to synthetic images than almost all real people are to "
    "others",
    "GPD search": "single training people are closer than a model fitted to the closest pairs of real people allows",
}
# The statements that a failed check can make unreliable, in words.
STATEMENTS: dict[Statement, str] = {
    "exact copy": "exact copies",
    "near-identical copy": "near-identical copies",
    "label link": "the label link of synthetic and training classes",
    "global test": "the test of training people as a group",
    "conformal": "single people significant by conformal p-values",
    "GPD tail": "single people significant by the GPD tail",
    "identities": "matches of synthetic identities",
    "learned score": "single people significant by the learned score",
    "crowd test": "the crowd test of searches among training people",
    "conformal search": "single people significant by conformal p-values of searches",
    "GPD search": "single people significant by the GPD tail of searches",
    "none detected": 'the verdict "none detected"',
}
LOOK_ALIKES = (
    "Relatives and other look-alikes of a training person can be found in the person's place, and face models confuse "
    "people of some demographic groups more often than others (doi:10.6028/NIST.IR.8280). Without --strata the audit "
    "cannot show whether findings concentrate in such a group."
)

# Tests that count, with and without a control set, and a warning where none of them finds anything.
COUNTED: frozenset[Evidence] = frozenset(
    ("conformal", "global test", "identities", "learned score", "crowd test", "conformal search")
)
MODEL_ALONE = (
    "Only a fitted curve says so, the GPD tail, since counting cannot report so few. It also reports what is close by "
    "an unusual chance, so look at each pair."
)


PLURAL = {"identity": "identities", "image": "images"}


def headline(
    verdict: AuditVerdict,
    evidence: Sequence[Evidence],
    *,
    checks: Sequence[Check],
    calibration: Calibration | None,
    no_control: NoControl | None,
    copies: Sequence[ImageCopy],
    link: LabelLink | None,
    people: Sequence[PersonFinding],
    identities: IdentityFindings,
    synthetic_labelled: bool,
    power: Power | None,
    fdr: float,
    counts: Mapping[Role, RoleCounts],
) -> str:
    """The verdict in a few sentences."""
    unit = unit_of(counts)
    parts = _copied(copies, unit)
    if link is not None and "label link" in evidence:
        parts.append(_linked(link))
    if parts and calibration is None and no_control is None:
        return " ".join(parts)
    significant = sum(bool(set(p.significant_by) - FACTS) for p in people)
    if verdict == "inconclusive":
        failed = [check.message for check in checks if check.status == "fail"]
        if failed:
            return "No verdict is possible: " + "; ".join(failed) + "."
        return (
            f"No verdict is possible without a control set and with fewer than {MIN_SEARCHES} labelled training "
            "people: nothing shows how close chance comes. Add people whom the generator never saw (--control), or the "
            "labels of the training people (--training-labels)."
        )
    if no_control is not None:
        by_search = [name for name in evidence if name in WITHOUT_CONTROL]
        if parts and not by_search:
            return " ".join(parts)
        parts.append(_without_control(no_control, by_search, len(people), significant, fdr, unit))
        matching = identities.n_significant
        if matching:
            what = "identities" if synthetic_labelled else "images"
            parts.append(f"{matching} of {len(identities)} synthetic {what} point at them.")
        if verdict in NO_LEAK:
            parts += _not_compared(counts)
        return " ".join([*parts, _assumption(no_control)])
    if calibration is None:
        raise ValueError(f"the verdict {verdict} needs a calibration")
    test = calibration.global_test
    if verdict == "none detected":
        found = (
            f"No test finds any of the {test.n_training} training {unit.many} closer to the synthetic set than chance "
            f"explains, compared with {test.n_control} control people."
        )
        return " ".join([found, *_not_compared(counts), would_be_found(power)])
    if {"conformal", "GPD tail", "learned score"} & set(evidence):
        low = calibration.exposed_people.low
        expected = expected_false(fdr, [p.significant_by for p in people])
        # Where labels share copied images, how many of these people are false is not known.
        of_facts = expected == 0 and fewest_people(copies) < len({c.person for c in copies})
        false = "" if of_facts else f" {false_findings(expected, fdr)}"
        parts.append(
            f"{significant} of {test.n_training} training {unit.many} {_are(significant)} closer to the synthetic set "
            f"than chance explains.{false} At least "
            f"{unit.count(low)} {_are(int(low))} exposed, with 95% confidence."
        )
        if not COUNTED.intersection(evidence):
            parts.append(MODEL_ALONE)
        stability = calibration.stability
        if stability.resamples > 1:
            parts.append(
                f"Over {stability.resamples} resamples of people and images, {min(stability.people_significant)} to "
                f"{max(stability.people_significant)} are significant."
            )
    if "global test" in evidence:
        group = f"As a group, training {unit.many}" if parts else f"Training {unit.many} as a group"
        parts.append(f"{group} rank closer than control people (p = {number(test.p_value)}{_by_score(test)}).")
        if len(parts) == 1:
            parts.append(f"No single {unit.one} is significant.")
    matching = sum(i.significant for i in identities)
    if matching:
        what = "identities" if synthetic_labelled else "images"
        parts.append(f"{matching} of {len(identities)} synthetic {what} match a training {unit.one}.")
    return " ".join(parts)


def _without_control(
    statement: NoControl, evidence: Sequence[Evidence], n_people: int, significant: int, fdr: float, unit: Unit
) -> str:
    """What the searches of training people say."""
    compared = f"compared with searches of {statement.n_searches:,} of them among the others"
    if not evidence:
        return (
            f"No test finds any of the {n_people:,} training {unit.many} closer to the synthetic set than real people "
            f"are to other people, {compared}."
        )
    if significant:
        text = (
            f"{significant} of {n_people:,} training {unit.many} {_are(significant)} closer to synthetic images than "
            f"chance explains, {compared}. At most {percent(fdr)} of these findings are expected to be false."
        )
        return text if COUNTED.intersection(evidence) else f"{text} {MODEL_ALONE}"
    crowd = statement.crowd_test
    return (
        f"{crowd.people} training people have a synthetic {statement.unit} as close to them as only "
        f"{percent(crowd.share)} of real people are to others; about {crowd.expected:.0f} are expected by chance "
        f"(p = {number(crowd.p_value)}). No single person is significant."
    )


def _assumption(statement: NoControl) -> str:
    """The assumption of the statement without a control set, and what was measured of it."""
    text = f"This statement is made because {statement.why}"
    corrected = [shift for shift in statement.shifts if shift.location.low > 0 or shift.factor > 1]
    share = statement.below_median
    if corrected:
        return (
            f"{text}. Away from the closest pairs, synthetic images are closer to everybody than real people are to "
            "each other; their scores are corrected for it."
        )
    if share.low > 0.5:
        return (
            f"{text}. Synthetic images are less like anybody than real people are, so the tests are conservative: "
            "they miss more leaks."
        )
    if share.high < 0.5:
        return (
            f"{text}. Only {percent(share.value)} of synthetic {PLURAL[statement.unit]} score below the median of real "
            "people: many are close to one training person each."
        )
    return f"{text}. Away from the closest pairs, synthetic images and real people have similar scores."


def _not_compared(counts: Mapping[Role, RoleCounts]) -> list[str]:
    """What "none detected" does not cover: images that were not compared, and what they can hide."""
    found = []
    hidden_in: dict[Role, str] = {"synthetic": "so leaks in them", "training": "so copies of them"}
    for role, hidden in hidden_in.items():
        of = counts[role]
        if of.rejected:
            found.append(
                f"{of.rejected:,} of {of.images:,} {role} images ({percent(of.rejected / of.images)}) were not "
                f"compared, {hidden} could be missed."
            )
        if of.left_out:
            found.append(
                f"{of.left_out:,} further {role} images were left out, by --exclude, a mask or an index: nothing is "
                "said of them."
            )
    return found


_FACT = "This is a fact and needs no test."


def _copied(copies: Sequence[ImageCopy], unit: Unit) -> list[str]:
    """How many synthetic images are training images, and of how many people: exact and near-identical copies."""
    exact = [c for c in copies if c.equal != "nearly"]
    # One image can be an exact copy of an image and nearly that of another.
    found = {c.synthetic_id for c in exact}
    again = [c for c in copies if c.equal == "nearly" and c.synthetic_id not in found]
    kinds = [("exact cop", "are the same", exact), ("near-identical cop", "are nearly the same", again)]
    parts = [_of_kind(kind, same, some, unit) for kind, same, some in kinds if some]
    return [" ".join([*parts, _FACT])] if parts else []


def _of_kind(kind: str, same: str, copies: Sequence[ImageCopy], unit: Unit) -> str:
    n_images, n_people = len({c.synthetic_id for c in copies}), len({c.person for c in copies})
    if unit is IMAGES:
        training = IMAGES.count(len({c.training_id for c in copies}))
        return (
            f"{kind.capitalize()}ies: {IMAGES.count(n_images)} of the synthetic set and {training} of the training set "
            f"{same}."
        )
    images = f"1 synthetic image is {_an(kind)}y" if n_images == 1 else f"{n_images} synthetic images are {kind}ies"
    people = "1 person" if n_people == 1 else f"{n_people} people"
    least = fewest_people(copies)
    shared = (
        "" if least == n_people else f" Their labels share images, so at least {least} of them {_are(least)} shown."
    )
    return f"{images} of training images of {people}.{shared}"


def _an(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _linked(link: LabelLink) -> str:
    """How many synthetic classes are linked to the training class of their label."""
    own = 0.0 if link.own_first is None else link.own_first.value
    text = (
        f"Labels link the two sets (p = {number(link.p_value or 0.0)}): {percent(own)} of {link.n_classes:,} synthetic "
        f"classes resemble the training class of their label more than any other training class; chance gives "
        f"{percent(1 / max(1, link.n_classes))}."
    )
    if link.n_significant:
        text += f" {link.n_significant:,} classes are significant by themselves."
    return text


def _are(n: int) -> str:
    return "is" if n == 1 else "are"


def false_findings(expected: float | None, fdr: float) -> str:
    """How many findings of a list are expected to be false, in a sentence."""
    if expected is None:
        return "How many of them are chance is not known."
    if expected == 0:
        return "They are facts, so none of them is false."
    return f"At most {few(expected)} of them are expected to be false (false discovery rate {percent(fdr)})."


def called_leaks(review: Review, *, intervals: bool = False) -> str:
    """How many findings reviewers call leaks, and how many control pairs, which cannot be; nothing if they decided no
    finding."""

    def counts(found: Estimate, what: str) -> str:
        interval = f" ({found.low:.1%} to {found.high:.1%}, {found.level:.0%} interval)" if intervals else ""
        return f"{found.value * found.n:.0f} of {found.n:,} {what}{interval}"

    precision, false = review.reviewer_precision, review.reviewer_false_positive_rate
    if precision is None:
        return ""
    control = "" if false is None else f", and {counts(false, 'control pairs')}, which cannot be leaks"
    return f"Reviewers call {counts(precision, 'decided findings')} leaks{control}."


def whole(expected: float) -> str:
    """An expected number of people in words: a whole number, or fewer than 1."""
    return f"about {expected:,.0f}" if expected >= 1 else "fewer than 1"


def few(expected: float) -> str:
    """An expected number: with one digit below 10, as a whole number above."""
    return f"{expected:.0f}" if expected >= 10 else f"{expected:.1f}"


def evidence_meaning(evidence: Evidence, unit: Unit) -> str:
    """What a test of the evidence says, in a sentence for readers who know no statistics."""
    text = EVIDENCE_MEANINGS[evidence]
    return text if unit is PEOPLE else text.replace("training people", "training images")


def can_invalidate(statements: Sequence[Statement]) -> str:
    """What a failed check makes unreliable, in a sentence."""
    if not statements:
        return "Nothing. It is a note."
    if set(statements) == set(ALL_BUT_FACTS):
        return "Everything but copies."
    if set(statements) == set(OF_IMAGES):
        return "Everything but copies and the label link."
    if set(statements) == set(AGAINST_CONTROL):
        return "Every test against control people."
    return f"{enumeration([STATEMENTS[s] for s in statements], 'and').capitalize()}."


def would_be_found(power: Power | None) -> str:
    """Which leaks the audit finds, by its planted leaks."""
    if power is None:
        return "No leaks were planted, so its sensitivity is not known."
    found = [(kind, strength) for kind, strength in power.strongest_found.items() if strength is not None]
    if not found:
        best = max(power.recalls, key=lambda r: r.one_leak.value)
        return (
            f"The audit would miss most leaks of one person: it finds at best {best.one_leak.value:.0%} of planted "
            f"leaks ({best.kind}, {best.strength}), and {best.many_leaks.value:.0%} if 5% of people leak."
        )
    strongest = enumeration(PERTURBATION_NAMES[kind][0].format(strength) for kind, strength in found)
    text = f"In at least {FOUND:.0%} of cases, the audit finds a planted copy that is {strongest}."
    missed = [PERTURBATION_NAMES[kind][1] for kind, strength in power.strongest_found.items() if strength is None]
    return f"{text} It finds fewer that are {enumeration(missed)}." if missed else text


def enumeration(parts: Iterable[str], word: str = "or") -> str:
    """The parts as a list in a sentence: a, b or c."""
    *first, last = parts
    return f"{', '.join(first)} {word} {last}" if first else last


def number(p: float) -> str:
    """A probability in figures: 0.03, 0.00046, 4.1e-07."""
    if p == 0:
        return "below 1e-300"
    return f"{p:.2g}" if p >= 9.95e-5 else f"{p:.1e}"


def count(n: float) -> str:
    """An expected number above 0, with two significant digits below 100: 1,240, 18, 0.78, 4.1e-07."""
    return f"{n:,.0f}" if n >= 99.5 else number(n)


def percent(share: float) -> str:
    """A share in percent with up to two significant digits: 5%, 0.31%, 4.1e-05%."""
    value = 100 * share
    return f"{value:.0f}%" if value >= 10 else f"{value:.2g}%"


def as_close(p: float, n_control: int) -> tuple[str, str]:
    """A conformal p-value as the number of control people who are as close to the synthetic set: "3 of 400", and the
    rest of the sentence."""
    n = max(0, round(p * (n_control + 1)) - 1)
    of_all = f"{n:,} of {n_control:,}" if n else f"none of {n_control:,}"
    return of_all, f"control people {'is' if n < 2 else 'are'} as close"


def q_in_words(person: PersonFinding) -> str:
    """The lower q-value of a person, and that the fitted tail gives it where that is so; nothing without one."""
    if person.lowest_q is None:
        return ""
    return f"{number(person.lowest_q)}{'' if person.lowest_q == person.q else ' (GPD tail)'}"


def methods(
    pairs_compared: int, n_identities: int, calibration: Calibration | None, no_control: NoControl | None
) -> dict[str, Method]:
    """How each number without an interval was made, and from how many observations."""
    found = {
        "cosine": Method(pairs_compared, "measured: cosine similarity of two embeddings"),
        "score": Method(
            pairs_compared,
            "measured: cosine minus half the closeness of each image to others (arXiv 1710.04087), scaled so that 0 is "
            "the median of real people and 15% are below -1, as estimated from the lowest 30%; the highest over all "
            "channels, of which the one in which most people are exposed counts in full and others half",
        ),
    }
    if no_control is not None:
        return found | _methods_without_control(no_control)
    if calibration is None:
        return found
    n_training, n_control = calibration.global_test.n_training, calibration.global_test.n_control
    conformal = "conformal p-value from control people (doi:10.1007/b106715), exact, so without an interval"
    adjusted = "Benjamini-Hochberg over training people (doi:10.1111/j.2517-6161.1995.tb02031.x)"
    adaptive = f"{adjusted}, with the share whom chance explains (Storey; doi:10.1214/23-AOS2338)"
    found |= {
        "p": Method(n_control, conformal),
        "q": Method(n_training, adaptive),
        "p_cosine": Method(n_control, f"{conformal}, of the uncorrected cosine"),
        "q_cosine": Method(n_training, f"{adaptive}, of the uncorrected cosine"),
        "expected false": Method(
            n_training,
            "false discovery rate times the number of people that tests find, at most the number without a copy",
        ),
        "concentration_p": Method(
            n_training, "hypergeometric (Fisher's exact test, one-sided), times the number of strata (Bonferroni)"
        ),
        "identity q": Method(
            n_identities, "target-decoy competition over people (doi:10.1214/15-AOS1337, arXiv 1907.01458)"
        ),
    }
    tail = calibration.detection_limit.tail
    if tail is not None:
        found["p_gpd"] = Method(
            tail.n_exceedances,
            "generalised Pareto tail (doi:10.1214/aos/1176343003), upper end of a one-sided 95% interval",
        )
        found["q_gpd"] = Method(n_training, f"{adjusted}, of the GPD p-values")
    return found


def _methods_without_control(statement: NoControl) -> dict[str, Method]:
    conformal = "conformal p-value from searches of training people among the others, corrected for the search itself"
    adjusted = "Benjamini-Hochberg over training people (doi:10.1111/j.2517-6161.1995.tb02031.x)"
    found = {
        "p": Method(statement.n_searches, f"{conformal}; Simes over the images closest to the person"),
        "q": Method(statement.n_units, adjusted),
        "identity q": Method(
            statement.n_units, f"{conformal}; Simes over the images, Benjamini-Hochberg over identities"
        ),
    }
    if statement.smallest_p_gpd is not None:
        found["p_gpd"] = Method(
            statement.n_searches,
            "generalised Pareto tail of the searches (doi:10.1214/aos/1176343003), upper end of a one-sided 95% "
            "interval",
        )
        found["q_gpd"] = Method(statement.n_units, f"{adjusted}, of the GPD p-values")
    return found


def crops_as_they_are(inputs: Mapping[Role, InputFacts]) -> bool:
    """Whether synthetic images were compared as aligned crops, in which no face is looked for."""
    return inputs["synthetic"].get("aligned", "none") != "none" and inputs["synthetic"]["kind"] != "embeddings"


def limitations(
    *,
    calibration: Calibration | None,
    no_control: NoControl | None,
    link: LabelLink | None,
    power: Power | None,
    copy_thresholds: CopyThresholds | None,
    counts: Mapping[Role, RoleCounts],
    channels: Sequence[str],
    models: Sequence[ModelFacts],
    inputs: Mapping[Role, InputFacts],
    checks: Sequence[Check],
    n_training_images_tested: int,
) -> tuple[str, ...]:
    """What the audit cannot show, in numbers where there are any."""
    names = " and ".join(str(model["name"]) for model in models)
    found = [
        "No verdict proves a set safe or anonymous. An audit finds only what its model and its control people can "
        "show.",
        f"The audit compares {_compared(channels, names)}.",
    ]
    found += [
        f"The check `{c.name}` failed, so this audit makes no statement of these kinds: {', '.join(c.invalidates)}. "
        f"The reason: {c.message}."
        for c in checks
        if c.status == "fail" and c.invalidates
    ]
    if unit_of(counts) is IMAGES:
        found.append(IMAGES_COUNT)
    precomputed = [role for role, facts in inputs.items() if facts["kind"] == "embeddings"]
    if precomputed:
        found.append(
            f"Precomputed embeddings were audited instead of images ({', '.join(precomputed)}). Kinds of leak, planted "
            "leaks and other channels are not available. That all embeddings come from one model and the right images "
            "was not checked."
        )
    if crops_as_they_are(inputs):
        found.append(
            "The synthetic images are aligned crops, in which no face is looked for. A single one that is turned, "
            "shifted, enlarged or holds several faces can be missed. --aligned synthetic=no looks for faces in them."
        )
    if only_default_model(models):
        found.append(
            "The default model finds copies of training images, but few other images of a training person. An ArcFace "
            "model (for example --model w600k_r50) finds most of both."
        )
    if calibration is not None:
        found += _of_calibration(calibration, counts["training"].embedded, n_training_images_tested)
        if power is None:
            found.append("No leaks were planted, so the sensitivity of this audit is not known.")
        else:
            found.append(
                f"Planted leaks are modified copies of images of {power.n_people} control people. A generator may "
                "reproduce people in ways that no such modification imitates."
            )
    elif no_control is None:
        found.append("Nothing is calibrated. A close pair may be chance, a hub image, or the same person.")
    if link is not None and link.significant:
        found.append(
            "A label link shows that the generator was given the classes of the training set. It does not show which "
            "images were reproduced. Labels that sort both sets by many small groups of look-alikes would link too."
        )
    if no_control is not None:
        found += _of_searches(no_control)
    if copy_thresholds is not None and not copy_thresholds.calibrated:
        found.append(
            f"The kinds of leak use thresholds from other data: {copy_thresholds.n_mated or 'no'} pairs of different "
            "images of one training person were available for calibration."
        )
    rejected = sum(c.rejected for c in counts.values())
    if rejected:
        found.append(f"{rejected} files were rejected and not compared (see Rejects). A leak among them is not found.")
    left_out = sum(c.left_out for c in counts.values())
    if left_out:
        found.append(f"{left_out:,} images were left out of the sets. A leak among them is not found.")
    return tuple(found)


def only_default_model(models: Sequence[ModelFacts]) -> bool:
    """Whether an audit used the default face model alone."""
    return [model["name"] for model in models] == [DEFAULT_MODEL]


def _compared(channels: Sequence[str], models: str) -> str:
    identity = f"identity (face model {models})"
    if "copy" in channels:
        return f"{identity}, appearance of the face, and copies of the whole image"
    if "appearance" in channels:
        return f"{identity} and appearance of the face. It does not find a copied background or an edited face"
    return f"{identity} only. It does not find a copied background, pose or light, or an edited face"


def _of_searches(statement: NoControl) -> list[str]:
    found = [
        "The statement without a control set assumes that a synthetic image that copies nobody behaves like a real "
        "image of one more person of the training collection. The audit tests this away from the closest pairs only.",
        f"With {statement.n_searches:,} searches, the smallest conformal p-value of an image is "
        f"{number(statement.smallest_p)}. More training people make it smaller.",
        "Training people with several labels match themselves. This hides leaks and causes no false findings.",
    ]
    if statement.unit == "image" and statement.n_units > 1:
        found.append(
            "The crowd test assumes that synthetic images are independent. It counts each training person once, but "
            "images of one face may be closest to different people."
        )
    return found


def _by_score(test: GlobalTest) -> str:
    """By which score the ranks are, where it is one channel alone."""
    return "" if test.n_scores == 1 or test.score == ALL_CHANNELS else f", by {test.score}"


def concentration(stratum: Stratum) -> str:
    """The limitation that findings concentrate in a stratum."""
    found = stratum.significant
    return (
        f"{round(found.value * found.n)} of the significant people are in stratum {stratum.name}, more than its "
        f"{found.n} tested people explain (p = {number(stratum.concentration_p)}). Either this group leaked more, or "
        "the face model confuses its people more often: review these pairs first."
    )


def _of_calibration(calibration: Calibration, n_training_images: int, n_tested: int) -> list[str]:
    test, limit, balance = calibration.global_test, calibration.detection_limit, calibration.balance
    found = [
        f"With {test.n_control} control people, the smallest conformal p-value is "
        f"{number(limit.smallest_p_conformal)}. Conformal p-values make people significant only if about "
        f"{limit.min_people_conformal} of {test.n_training} exceed every control person.",
        _of_tail(limit.tail),
    ]
    if balance.training_not_tested:
        found.append(
            f"{balance.training_not_tested} training people were not tested: they have too few comparable control "
            "people."
        )
    if n_tested < n_training_images:
        found.append(
            f"{n_tested} of {n_training_images} training images were tested: images per person are subsampled to match "
            "the control set. The others are compared and ranked. A control set with more images per person uses more."
        )
    found += [concentration(stratum) for stratum in calibration.strata if stratum.concentration_p <= CONCENTRATED]
    if not calibration.strata:
        found.append(LOOK_ALIKES)
    learned = calibration.learned_score
    if learned is not None:
        found.append(
            "The learned score finds any difference between training and control people. It is valid only if they "
            "differ in nothing but membership, which the input checks test in part."
            if learned.used
            else f"The learned score is not used: {learned.reason}."
        )
    if calibration.exposed_share is not None:
        found.append(
            "The estimated share of exposed people misses those whose score looks like chance, so more people can be "
            "exposed than its interval allows."
        )
    found += [f"{reason}, so none is given." for reason in calibration.membership[0].not_resolved.values()]
    if calibration.stability.resamples > 1:
        people = calibration.stability.people_significant
        found.append(
            f"The subsample of images and people is random. Over {calibration.stability.resamples} resamples, "
            f"{min(people)} to {max(people)} people are significant."
        )
    return found


def _of_tail(tail: GPDFit | None) -> str:
    if tail is None:
        return "With too few control people to fit a GPD tail, a few exposed people cannot become significant."
    return (
        f"Fewer people become significant only by the GPD tail, a model fitted to the {tail.n_exceedances} highest "
        f"scores of control people. Its p-values are upper limits and at least {number(tail.smallest_p)}."
    )
