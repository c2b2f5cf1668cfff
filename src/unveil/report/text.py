"""The sentences of a result: the headline, and what this audit cannot say."""

from __future__ import annotations

from dataclasses import replace

from unveil.config.settings import Settings
from unveil.results.audit import AuditResult, Calibration, Power
from unveil.stats.power import FOUND

# What a planted kind of leak is called in a sentence: with its strength, and without.
PERTURBATION_NAMES = {
    "re-encode": ("a picture re-encoded ({})", "re-encoded"),
    "blur": ("blurred ({})", "blurred"),
    "downsample": ("downsampled ({})", "downsampled"),
    "flip": ("mirrored", "mirrored"),
    "rotate": ("turned ({})", "turned"),
    "colour": ("{}", "faded"),
    "occlude": ("{}", "hidden in part"),
    "blend": ("blended ({})", "blended with another"),
    "identity match": ("a new picture of the person", "a new picture of the person"),
}


def with_text(result: AuditResult, settings: Settings) -> AuditResult:
    """The result with its headline and its limits in words."""
    return replace(result, headline=headline(result, settings), limitations=limitations(result, settings))


def headline(result: AuditResult, settings: Settings) -> str:
    """The verdict in a sentence or two."""
    calibration, line = result.calibration, result.candidate_threshold
    if result.verdict == "inconclusive":
        failed = [c for c in result.input_checks if c.status == "fail"]
        if failed:
            return "No verdict can be given: " + "; ".join(c.message for c in failed) + "."
        return (
            "No verdict can be given: without a control set and without at least 125 labelled training people nothing "
            "says how close chance comes; the ranked pairs are uncalibrated. Give real people the generator never saw "
            "with --control, or name the people with --training-labels (`one-per-image`: every image shows another "
            "person)."
        )
    if result.verdict == "candidates" and line is not None:
        return (
            f"{line.n_above} synthetic pictures are closer to one of {len(result.significant_people)} training people "
            f"than {1 - line.fpir:.0%} of real people are to anyone else; chance alone would give about "
            f"{line.expected_above.value:.0f}. Candidates to look at, not findings: give a control set to calibrate."
        )
    if calibration is None:
        return (
            f"No synthetic picture is closer to a training person than {1 - settings.fpir:.0%} of real people are to "
            "anyone else. Only a control set (--control) can calibrate this into a finding."
        )
    if result.verdict == "none detected":
        return (
            f"The {len(calibration.training)} training people are no closer to the synthetic set "
            f"than the {len(calibration.control)} control people. {would_have_found(result.power)}"
        )
    return _leak_found(result, calibration, settings)


def _leak_found(result: AuditResult, calibration: Calibration, settings: Settings) -> str:
    counted = sum("conformal" in p.significant_by for p in result.people)
    modelled = sum("GPD tail" in p.significant_by for p in result.people)
    leaking = sum(i.significant for i in result.synthetic_identities)
    parts = []
    if counted or modelled:
        by = " and ".join(f"{n} by {how}" for n, how in ((counted, "counting"), (modelled, "the modelled tail")) if n)
        parts.append(
            f"{len(result.significant_people)} of {len(calibration.training)} training people are exposed at a false "
            f"discovery rate of {settings.fdr:g} ({by}); at least {calibration.exposed.low:.0f} are, with 95% "
            "confidence"
        )
    if "global test" in result.evidence:
        p = calibration.decision.global_test.p_value
        parts.append(f"training people fill the closest ranks far beyond chance (p {number(p)})")
    if leaking:
        synthetic = result.counts["synthetic"]
        are = "pictures" if synthetic.unlabelled else "identities"
        parts.append(f"{leaking} of {len(result.synthetic_identities)} synthetic {are} point to training people")
    told = "; ".join(parts)
    return told[:1].upper() + told[1:] + "."


def would_have_found(power: Power | None) -> str:
    """What a leak would have had to look like to be found."""
    if power is None:
        return "What this audit would have missed was not measured."
    found = [(kind, strength) for kind, strength in power.strongest_found.items() if strength is not None]
    if not found:
        best = max(power.recalls, key=lambda r: r.one_leak.value)
        return (
            f"It would have missed most leaks of a single person: at best {best.one_leak.value:.0%} of planted "
            f"ones were found ({best.kind}, {best.strength}). With 5% of people leaked: {best.many_leaks.value:.0%}."
        )
    strongest = _listing([PERTURBATION_NAMES[kind][0].format(strength) for kind, strength in found])
    missed = [PERTURBATION_NAMES[kind][1] for kind, strength in power.strongest_found.items() if strength is None]
    less = f", and less often {_listing(missed)}" if missed else ""
    return (
        f"Planted leaks show what it would have found of a single person in at least {FOUND:.0%} of cases: {strongest}"
        f"{less}."
    )


def _listing(parts: list[str]) -> str:
    return " or ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def number(p: float) -> str:
    """A probability for people: 0.03, 4.1e-07."""
    if p == 0:
        return "below 1e-300"
    return f"{p:.2g}" if p >= 1e-3 else f"{p:.1e}"


def methods(result: AuditResult) -> dict[str, dict[str, object]]:
    """What each number that stands without an interval of its own is, and from how many it was made."""
    said: dict[str, dict[str, object]] = {
        "cosine": {"n": result.pairs_compared, "method": "measured: the cosine of two embeddings"},
        "score": {
            "n": result.pairs_compared,
            "method": "measured: cosine less half the closeness of each picture to the cohort (arXiv 1710.04087), on a "
            "scale on which 0 is the middle of the cohort's own exposures and 1 what a tenth of them exceed; over "
            "several channels the highest",
        },
    }
    if result.calibration is None:
        return said
    n_c, tail = len(result.calibration.control), result.calibration.decision.tail
    counting = "conformal p by counting control people (doi:10.1007/b106715); exact, so without an interval"
    adjusted = "Benjamini-Hochberg over training people (doi:10.1111/j.2517-6161.1995.tb02031.x)"
    said |= {
        "p": {"n": n_c, "method": counting},
        "q": {"n": len(result.calibration.training), "method": adjusted},
        "p_cosine": {"n": n_c, "method": f"{counting}; of the raw cosine"},
        "q_cosine": {"n": len(result.calibration.training), "method": f"{adjusted}; of the raw cosine"},
        "identity q": {
            "n": len(result.synthetic_identities),
            "method": "target-decoy competition over people (doi:10.1214/15-AOS1337, arXiv 1907.01458)",
        },
    }
    if tail is not None:
        said["p_gpd"] = {
            "n": tail.n_exceedances,
            "method": "generalised Pareto tail (doi:10.1214/aos/1176343003), upper end of a one-sided 95% interval",
        }
        said["q_gpd"] = {"n": len(result.calibration.training), "method": f"{adjusted}; of the modelled p"}
    return said


def limitations(result: AuditResult, settings: Settings) -> tuple[str, ...]:
    """What this audit cannot say, in figures where there are any."""
    calibration, line = result.calibration, result.candidate_threshold
    names = " and ".join(str(model["name"]) for model in result.models)
    said = [
        "No verdict says that a set is safe or anonymous: an audit finds what its network and its people can show.",
        f"The audit looks for who is in a picture ({names}){_looks(result.channels)}. Kinds are told only for pairs "
        "that were brought up so.",
    ]
    given = [role for role, facts in result.manifest["inputs"].items() if facts["kind"] == "embeddings"]
    if given:
        said.append(
            f"Embeddings were given instead of pictures ({', '.join(given)}): nobody has looked at the pictures, so "
            "there are no kinds, no planted leaks and no other channel than the face, and that all embeddings are of "
            "one network and of the right people is taken on somebody's word."
        )
    if names == "dlib_resnet_v1":
        said.append(
            "The default network finds copies of training pictures but few new pictures of a training person; an "
            "ArcFace network (for example w600k_r50) given with --model finds most of both."
        )
    if calibration is not None:
        said += _of_calibration(calibration, result.counts["training"].embedded)
        if result.power is None:
            said.append("No leaks were planted, so what this audit would have missed is not measured.")
        else:
            said.append(
                f"Planted leaks are changed copies of {result.power.n_people} control people's pictures, one person at "
                "a time. A generator may reproduce people in ways that no change of a picture imitates."
            )
    elif line is None:
        said.append("Nothing is calibrated: a close pair may be chance, a hub, or the same person.")
    else:
        said.append(
            f"The line is the closeness that real people reach with other training people in {line.fpir:.1%} of "
            f"{line.n_searches} searches. Synthetic pictures may differ from real ones in other ways than leaking."
        )
    lines = result.copy_thresholds
    if lines is not None and not lines.calibrated:
        said.append(
            f"Kinds of leak are told by lines measured on other data: only {lines.n_mated} pairs of different pictures "
            "of one training person were there to calibrate on."
        )
    rejected = sum(c.rejected for c in result.counts.values())
    if rejected:
        said.append(f"{rejected} files were not compared (see rejects): a leak among them is not seen.")
    return tuple(said)


def _looks(channels: tuple[str, ...]) -> str:
    """What is looked at beside the face, and what is not."""
    if "copy" in channels:
        return ", for how its face looks and for copies of the whole picture"
    if "appearance" in channels:
        return " and for how its face looks. A copied background, and a picture whose face was changed, are not found"
    return " alone. A copied background, pose, light or picture whose face was changed is not found"


def _of_calibration(calibration: Calibration, n_training_images: int) -> list[str]:
    n_t, n_c = len(calibration.training), len(calibration.control)
    tail, balance = calibration.decision.tail, calibration.balance
    said = [
        f"Counting resolves p no smaller than {number(calibration.smallest_p)} with {n_c} control people: it lists "
        f"people only when about {calibration.min_people_conformal} of {n_t} stand above every control person. Fewer "
        "are listed by the modelled tail alone."
    ]
    if tail is None:
        said.append("There were too few control people to model a tail: a few exposed people cannot be listed.")
    else:
        said.append(
            f"Modelled p-values extend the control people's tail by a generalised Pareto fit to its "
            f"{tail.n_exceedances} largest values, at the upper limit of the fit and not below "
            f"{number(tail.smallest_p)}. They are a model, not a count."
        )
    if balance.training_not_tested:
        said.append(
            f"{balance.training_not_tested} training people were not tested: there are hardly any control people like "
            "them."
        )
    used = int(calibration.training.n_images.sum())
    if used < n_training_images:
        said.append(
            f"{used} of {n_training_images} training pictures took part in the tests, so that training and "
            "control people bring equally many; the others are compared and ranked but not tested. A control set "
            "with more pictures a person uses more."
        )
    if calibration.stability.resamples > 1:
        people = calibration.stability.people_significant
        said.append(
            f"Which pictures and people take part is drawn at random: over {calibration.stability.resamples} draws "
            f"{min(people)} to {max(people)} people are listed."
        )
    return said
