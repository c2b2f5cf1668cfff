"""The sentences of a result: the headline, and what this audit cannot say."""

from __future__ import annotations

from collections.abc import Sequence

from unveil.config import Settings
from unveil.result import Calibration, CandidateLine, IdentityFinding, PersonFinding, RoleCounts
from unveil.stats.hygiene import Check
from unveil.stats.verdict import Basis, Verdict
from unveil.types import Role


def headline(
    verdict: Verdict,
    rests_on: Sequence[Basis],
    people: Sequence[PersonFinding],
    identities: Sequence[IdentityFinding],
    calibration: Calibration | None,
    line: CandidateLine | None,
    checks: Sequence[Check],
    settings: Settings,
    *,
    identities_are: str = "identities",
) -> str:
    """The verdict in a sentence or two; ``identities_are`` pictures when the synthetic set has no labels."""
    n_people = len(people)
    if verdict == "inconclusive":
        failed = [c for c in checks if c.status == "fail"]
        if failed:
            return "No verdict can be given: " + "; ".join(c.message for c in failed) + "."
        return (
            "No verdict can be given: without a control set and without at least 125 labelled training people nothing "
            "says how close chance comes; the ranked pairs are uncalibrated. Give real people the generator never saw "
            "with --control, or at least say who is who with --training-identity (`each`: every picture is another "
            "person)."
        )
    if verdict == "candidates" and line is not None:
        listed = sum(bool(p.listed_by) for p in people)
        return (
            f"{line.n_above} synthetic pictures are closer to one of {listed} training people than "
            f"{1 - line.fpir:.0%} of real people are to anyone else; chance alone would give about "
            f"{line.expected_above:.0f}. Candidates to look at, not findings: give a control set to calibrate."
        )
    if calibration is None:
        return (
            f"No synthetic picture is closer to a training person than {1 - settings.fpir:.0%} of real people are to "
            "anyone else. Only a control set (--control) can calibrate this into a finding."
        )
    if verdict == "none detected":
        return (
            f"The {len(calibration.training)} training people are no closer to the synthetic set "
            f"than the {len(calibration.control)} control people. See Limits for what such an audit misses."
        )
    counted = sum("counted" in p.listed_by for p in people)
    modelled = sum("modelled tail" in p.listed_by for p in people)
    leaking = sum(i.listed for i in identities)
    parts = []
    if counted or modelled:
        by = " and ".join(f"{n} by {how}" for n, how in ((counted, "counting"), (modelled, "the modelled tail")) if n)
        listed = sum(bool(p.listed_by) for p in people)
        parts.append(
            f"{listed} of {n_people} training people are exposed at a false discovery rate of {settings.q:g} ({by})"
        )
    if "global test" in rests_on:
        p = calibration.global_test.p_value
        parts.append(f"training people fill the closest ranks far beyond chance (p {number(p)})")
    if leaking:
        parts.append(f"{leaking} of {len(identities)} synthetic {identities_are} point to training people")
    told = "; ".join(parts)
    return told[:1].upper() + told[1:] + "."


def number(p: float) -> str:
    """A probability for people: 0.03, 4.1e-07."""
    return f"{p:.2g}" if p >= 1e-3 else f"{p:.1e}"


def limits(
    counts: dict[Role, RoleCounts],
    calibration: Calibration | None,
    line: CandidateLine | None,
    n_training_pictures: int,
    model: dict[str, object],
    settings: Settings,
) -> tuple[str, ...]:
    """What this audit cannot say, in figures where there are any."""
    said = [
        "No verdict says that a set is safe or anonymous: an audit finds what its network and its people can show.",
        f"The network sees who is in a picture ({model['name']}). A copied background, pose or picture whose face was "
        "changed is not seen by it.",
    ]
    if model["name"] == "dlib_resnet_v1":
        said.append(
            "The default network finds copies of training pictures but few new pictures of a training person; an "
            "ArcFace network (for example w600k_r50) given with --model finds most of both."
        )
    if calibration is not None:
        n_t, n_c = len(calibration.training), len(calibration.control)
        said.append(
            f"Counting resolves p no smaller than {number(calibration.smallest_p)} with {n_c} control people: it lists "
            f"people only when about {calibration.fewest_counted} of {n_t} stand above every control person. Fewer are "
            "listed by the modelled tail alone."
        )
        if calibration.tail is None:
            said.append("There were too few control people to model a tail: a few exposed people cannot be listed.")
        else:
            said.append(
                f"Modelled p-values extend the control people's tail by a generalised Pareto fit to its "
                f"{calibration.tail.n_exceedances} largest values, at the upper limit of the fit and not below "
                f"{number(calibration.tail.smallest_p)}. They are a model, not a count."
            )
        used = int(calibration.training.n_images.sum())
        if used < n_training_pictures:
            said.append(
                f"{used} of {n_training_pictures} training pictures took part in the tests, so that training and "
                "control people bring equally many; the others are compared and ranked but not tested. A control set "
                "with more pictures a person uses more."
            )
        said.append("This audit planted no leaks of its own, so what it would have missed is not measured here.")
    elif line is None:
        said.append("Nothing is calibrated: a close pair may be chance, a hub, or the same person.")
    else:
        said.append(
            f"The line is the closeness that real people reach with other training people in {line.fpir:.1%} of "
            f"{line.n_searches} searches. Synthetic pictures may differ from real ones in other ways than leaking."
        )
    rejected = sum(c.rejected for c in counts.values())
    if rejected:
        said.append(f"{rejected} files were not compared (see rejects): a leak among them is not seen.")
    return tuple(said)
