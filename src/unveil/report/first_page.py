"""The first page of a report: what everybody needs to know of a result, and the commands that follow it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from shlex import quote

from unveil.choices import LEAK, NO_LEAK
from unveil.config.record import command_of
from unveil.report.text import (
    PERTURBATION_NAMES,
    called_leaks,
    crops_as_they_are,
    enumeration,
    only_default_model,
    percent,
    whole,
)
from unveil.report.units import unit_of
from unveil.results import AuditResult, PersonFinding, Review
from unveil.stats.power import FOUND
from unveil.stats.statements import FACTS
from unveil.types import ROLES, Role

MAX_EXAMPLES = 3
MAX_NOT_TESTED = 8
# Reasons of rejects that the first page names for a set.
MAX_REASONS = 3
# Smaller probabilities are not put in words.
MAX_ODDS = 1_000_000
AUDIT_AGAIN = (
    "Audit again when images are added or removed, when the generator or its training data change, and when a stronger "
    "face model is available."
)
HOLD = "Do not publish the dataset or pass it on before the leak is removed."
LEGAL = "Whether these images are personal data is a legal question that no measurement answers."
# What stands for the value of an option in a command.
PLACEHOLDERS = {"--control": "CONTROL", "--exclude": "LIST.txt"}
# A value of a command, with quotes as a shell reads them.
ONE_VALUE = r"""(?:'[^']*'|"[^"]*"|[^\s'"])+"""


@dataclass(frozen=True)
class Answer:
    """A question of a reader, its answer in a few words, and a sentence."""

    question: str
    answer: str
    sentence: str


@dataclass(frozen=True)
class Step:
    """One thing to do: its name, the reason, and the commands for it."""

    name: str
    reason: str
    commands: tuple[str, ...]


def examples(result: AuditResult) -> tuple[PersonFinding, ...]:
    """Three significant people: the most exposed of each kind of leak, then the next ones.

    Only pairs that the fewest control people equal are shown, so a kind that only other pairs have gets no example.
    """
    people = _least_equalled(result)
    first_of_kind: dict[str, PersonFinding] = {}
    for person in people:
        first_of_kind.setdefault(person.kind.kind if person.kind else "", person)
    others = [person for person in people if person not in first_of_kind.values()]
    return tuple([*first_of_kind.values(), *others][:MAX_EXAMPLES])


def _least_equalled(result: AuditResult) -> Sequence[PersonFinding]:
    """The significant people whom the fewest control people equal, mostly none, and those of whom there is a copy."""
    people = result.significant_people
    if result.no_control is not None:
        return people
    least = min((p.p for p in people if p.p is not None), default=None)
    return [p for p in people if p.p is None or p.p == least or not FACTS.isdisjoint(p.significant_by)]


def is_leak(result: AuditResult) -> bool:
    """Whether the verdict reports a leak."""
    return result.verdict in LEAK


def answers(result: AuditResult) -> tuple[Answer, Answer, Answer]:
    """How many people are exposed, how many findings are probably wrong, and how sure that is."""
    return _how_many(result), _how_many_wrong(result), _how_sure(result)


def _how_many(result: AuditResult) -> Answer:
    question = f"How many {unit_of(result.counts).many} are affected?"
    significant, copied = len(result.significant_people), len({c.person for c in result.copies})
    link, people = result.label_link, result.counts["training"].people
    unit = unit_of(result.counts)
    of_all = f"of {unit.count(people)} of the training set"
    if result.verdict == "inconclusive":
        return Answer(question, "not known", "This audit cannot say.")
    facts = f" The dataset has copies of images of {copied:,} of them." if copied else ""
    if significant and is_leak(result):
        least, share = result.exposed_people, result.exposed_share
        sentence = f"{of_all} {'is' if significant == 1 else 'are'} reported.{facts}"
        if least is not None and result.tests_are_reliable:
            verb = "is" if least.low == 1 else "are"
            sentence += (
                f" Reported or not, at least {least.low:,.0f} {verb} exposed, with {least.level:.0%} confidence."
            )
        if least is None:
            sentence += " How many more are exposed is not known without a control set."
        if share is not None:
            low, value, high = (round(part * share.n) for part in (share.low, share.value, share.high))
            # The exact lower limit can be above the estimate, which is then the lower end.
            about = f"about {value:,} ({low:,} to {high:,}, " if low < value else f"{low:,} to {high:,} ("
            sentence += f" The estimated number of exposed {unit.many} is {about}{share.level:.0%} interval)."
        return Answer(question, unit.count(significant), sentence)
    if is_leak(result) and link is not None and "label link" in result.evidence:
        return Answer(
            question,
            f"{link.n_classes:,} classes",
            f"have labels that name a training person. {link.n_significant:,} of them are significant by themselves.",
        )
    if is_leak(result) and result.no_control is not None and "crowd test" in result.evidence:
        crowd = result.no_control.crowd_test
        return Answer(
            question,
            f"about {unit.count(round(max(0, crowd.people - crowd.expected)))}",
            f"{of_all} more than chance explains have an image as close as only {percent(crowd.share)} of real people "
            "are to others. Nobody can be named.",
        )
    if is_leak(result):
        return Answer(
            question, "not known", f"As a group, {unit.many} of the training set are too close. None can be named."
        )
    return Answer(question, "nobody found", f"{of_all} is closer to the dataset than chance explains.")


def _how_many_wrong(result: AuditResult) -> Answer:
    question = "How many of them are probably wrong?"
    expected, significant = result.expected_false_people, len(result.significant_people)
    if not significant:
        return Answer(question, "nobody is named", "There is no finding that could be wrong.")
    if expected is None:
        return Answer(question, "not known", "Nothing in this audit measures chance.")
    if expected == 0:
        return Answer(question, "none", "Copies are facts.")
    fdr = percent(result.manifest["settings"]["fdr"])
    condition = "" if result.no_control is None else ", if synthetic images behave like real ones"
    return Answer(
        question,
        f"{whole(expected)} of {significant:,}",
        f"On average, at most {fdr} of these {unit_of(result.counts).many} are false findings{condition}."
        f"{' None of those with a copy is.' if result.copies else ''}"
        f" {_reviewed(result.review)}",
    )


def _reviewed(review: Review | None) -> str:
    """What reviewers found so far, and that a review is needed until they have decided half of the findings."""
    precision = None if review is None else review.reviewer_precision
    if review is None or precision is None:
        return "Only a review can tell which."
    called = called_leaks(review)
    if 2 * precision.n >= review.n_findings:
        return called
    return f"Only a review can tell which, and it has decided {precision.n:,} of {review.n_findings:,}. {called}"


def _how_sure(result: AuditResult) -> Answer:
    question = "Could it all be chance?"
    link, test = result.label_link, result.global_test
    if is_leak(result) and result.copies:
        return Answer(question, "no", _copies_are_facts(result))
    if "global test" in result.evidence and test is not None:
        return Answer(
            question,
            odds(test.p_value),
            "is the probability that training people rank so far above control people if nothing had leaked. "
            f"{test.n_control:,} control people, whom the generator never saw, show what chance does.",
        )
    if "label link" in result.evidence and link is not None and link.p_value is not None:
        return Answer(question, odds(link.p_value), "is the probability of such a link if the labels had no meaning.")
    if "crowd test" in result.evidence and result.no_control is not None:
        searches = result.no_control
        return Answer(
            question,
            odds(searches.crowd_test.p_value),
            f"is the probability of so many close people by chance, which {searches.n_searches:,} searches among "
            "training people show. It holds if synthetic images that copy nobody behave like real images: only a "
            "control set can test that.",
        )
    if is_leak(result):
        return Answer(
            question,
            f"for at most {result.manifest['settings']['fdr']:.0%}",
            "of the findings, as expected. The evidence is single findings; no test of the whole group rules it out.",
        )
    if result.verdict in NO_LEAK and result.power is None:
        unknown = "No leaks were planted, so what this audit would have found is not known."
        return Answer("How sure is it that nobody is missed?", "not known", unknown)
    if result.verdict in NO_LEAK and result.power is not None:
        weakest = min(r.one_leak.value for r in result.power.recalls)
        best = max(r.one_leak.value for r in result.power.recalls)
        return Answer(
            "How sure is it that nobody is missed?",
            f"{weakest:.0%} to {best:.0%}",
            f"of planted leaks of one {unit_of(result.counts).one} would have been found, depending on their kind and "
            "strength.",
        )
    return Answer(question, "not known", "Nothing in this audit measures how close chance comes.")


def _copies_are_facts(result: AuditResult) -> str:
    exact = "exact copy" in result.evidence
    fact = (
        "Images of the dataset are images of the training set. This needs no test."
        if exact
        else "Images of the dataset are nearly identical to training images. No two different photographs are."
    )
    found = len(result.significant_people) - len({copy.person for copy in result.copies})
    return fact if found <= 0 else f"{fact} The other {unit_of(result.counts).count(found)} are found by tests."


def odds(p: float) -> str:
    """A probability as "1 in 300", with one digit; below one in a million it is only said to be less."""
    if p * MAX_ODDS < 1:
        return "less than 1 in a million"
    exact = 1 / p
    size = 10 ** max(0, len(str(int(exact))) - 1)
    return f"1 in {round(exact / size) * size:,}"


def meaning(result: AuditResult) -> str:
    """What the verdict means for the people of the training set, in one or two sentences."""
    if is_leak(result) and "exact copy" in result.evidence:
        return "The dataset contains images of the training set. Whoever has it has these images of real people."
    if is_leak(result) and result.copies:
        return (
            "The dataset contains images that are nearly identical to training images. Whoever has it sees these "
            "people as the training set shows them."
        )
    if is_leak(result) and result.significant_people:
        return (
            "Some synthetic images resemble one training person so closely that whoever has a photograph of this "
            "person could recognise the person in the dataset."
        )
    if is_leak(result) and "label link" in result.evidence:
        return (
            "The labels of the dataset show which training person each synthetic class was made from. Removing images "
            "does not end this; permuted labels do."
        )
    if is_leak(result):
        return "The dataset depends on its training people, but this audit can name none of them."
    if result.verdict in NO_LEAK:
        return (
            "This audit found no training person in the dataset. It does not prove that the dataset is safe: another "
            "model or method could find what this one misses."
        )
    return "The audit can state neither that there is a leak nor that there is none."


def steps(result: AuditResult, run: str = ".") -> tuple[Step, ...]:
    """What to do after an audit, in order. ``run`` is the place of its run in the commands."""
    place = quote(run)
    of_images = not any(facts["kind"] == "embeddings" for facts in result.manifest["inputs"].values())
    # A protocol is of one audit. The settings that it decided are among the others.
    settings = {k: v for k, v in result.manifest["settings"].items() if k not in ("protocol", "deviate")}
    again = Step("audit again", AUDIT_AGAIN, (command_of(settings, result.manifest["inputs"]),))
    found: list[Step] = []
    if result.next_step is not None:
        step = result.next_step
        placeholder = PLACEHOLDERS.get(step.option, "VALUE")
        # The same command would give the same answer: another value takes the place of the one that was typed.
        typed = command_of(settings, result.manifest["inputs"])
        rest = re.sub(rf" {re.escape(step.option)} {ONE_VALUE}", "", typed)
        commands = (rest.replace(" -o RUN", f" {step.option} {placeholder} -o RUN"),)
        name = "get a verdict" if result.verdict == "inconclusive" else "strengthen the result"
        found.append(Step(name, f"{step.action} The option is {step.option}.", commands))
    if of_images and (result.significant_people or result.improbable_pairs):
        found.append(
            Step(
                "review",
                "Let two people judge the pairs, independently. Only they can tell who is on an image.",
                (f"unveil review {place} --blind --findings", f"unveil report {place}"),
            )
        )
    if is_leak(result):
        found += _removal(result, place)
    named = any(set(p.significant_by) - FACTS for p in result.significant_people)
    if of_images and is_leak(result) and (named or result.exposures is not None):
        threshold = "" if named else " --threshold control"
        found.append(
            Step(
                "guard",
                "Refuse such images while the generator makes new ones.",
                (f"unveil guard build {place} -o guard{threshold}", "unveil guard check guard NEW-IMAGES"),
            )
        )
    if of_images and result.verdict in NO_LEAK and only_default_model(result.models):
        found.append(
            Step(
                "look closer",
                "An ArcFace model finds new images of a person, which the default model misses. Its licence allows "
                "research only.",
                ("unveil models fetch buffalo_m", again.commands[0].replace(" -o RUN", " --model w600k_r50 -o RUN")),
            )
        )
    if of_images:
        found.append(
            Step(
                "answer a person",
                "Somebody asks whether the dataset shows them: search for the photographs that they send.",
                (f"unveil lookup PHOTO.jpg --run {place}",),
            )
        )
    return tuple(found if result.verdict == "inconclusive" else (*found, again))


def _removal(result: AuditResult, place: str) -> list[Step]:
    found = []
    tested = result.significant_people or any(i.significant for i in result.synthetic_identities)
    if tested or result.exposures is not None:
        threshold = "" if tested else " --threshold control"
        found.append(
            Step(
                "clean",
                "Remove the images that expose people, and audit the rest. The dataset itself is not changed.",
                (f"unveil clean {place}{threshold} --copy cleaned",),
            )
        )
    if "label link" in result.evidence:
        found.append(
            Step("permute the labels", "Give the synthetic classes random labels: cleaning does not end the link.", ())
        )
    return found


def not_tested(result: AuditResult) -> tuple[str, ...]:
    """What the audit did not test or would miss, the most important first; a part of its limitations."""
    counts, training = result.counts, result.counts["training"]
    found = ["Training people whose images were not given to this audit."]
    if result.no_control is not None:
        found.append(f"Closeness to people whom the generator never saw, because {result.no_control.why}.")
    elif result.global_test is None:
        found.append("How close chance comes: there is no control set.")
    if "appearance" not in result.channels:
        found.append("Copied pose, light and composition: only the face was compared.")
    if "copy" not in result.channels:
        found.append("Copied backgrounds, and copies of whole images whose face was changed.")
    if only_default_model(result.models):
        found.append(
            "New images of a person: the default face model finds few of them. Use an ArcFace model (--model "
            "w600k_r50)."
        )
    if crops_as_they_are(result.manifest["inputs"]):
        found.append(
            "Synthetic crops in which the face is turned, shifted or enlarged, or not alone: no face was looked for in "
            "aligned crops."
        )
    if result.power is None:
        found.append("How small a leak would have been found: no leaks were planted.")
    else:
        recalls = [r for r in result.power.recalls if r.one_leak.value < FOUND]
        missed = dict.fromkeys(PERTURBATION_NAMES[r.kind][1] for r in recalls)
        if missed:
            found.append(
                f"Some changed copies of one image: at some strengths, fewer than {FOUND:.0%} would be found if they "
                f"are {enumeration(missed)}."
            )
    if result.balance is not None and result.balance.training_not_tested:
        found.append(
            f"{result.balance.training_not_tested:,} of {training.people:,} training {unit_of(counts).many}: too few "
            "comparable "
            "control people."
        )
    rejected, left_out = (sum(getattr(c, name) for c in counts.values()) for name in ("rejected", "left_out"))
    if rejected:
        found.append(f"{rejected:,} files that were rejected, for example because no face was detected.")
    if left_out:
        found.append(f"{left_out:,} images that were left out of the sets.")
    unassessed = [risk.criterion for risk in result.privacy_risks if not risk.assessed]
    if unassessed:
        found.append(f"The risk of {enumeration(unassessed, 'and')}.")
    return tuple(found[:MAX_NOT_TESTED])


def audited_images(result: AuditResult) -> tuple[str, ...]:
    """How many images of each set were compared, and why others were not, a sentence or more for each role."""
    return tuple(_audited(role, result) for role in ROLES if role in result.counts)


def _audited(role: Role, result: AuditResult) -> str:
    of, facts = result.counts[role], result.manifest["inputs"][role]
    all_of_them = of.embedded == of.images and not of.left_out
    text = f"{role.capitalize()}: {'all ' if all_of_them else ''}{of.embedded:,}"
    text += " images were compared." if all_of_them else f" of {of.images + of.left_out:,} images were compared."
    if of.left_out:
        text += f" {of.left_out:,} were left out, by --exclude, a mask or an index."
    if of.rejected:
        reasons = Counter(reject.reason for reject in result.rejects[role]).most_common()
        shown = [f"{reason} ({n:,})" for reason, n in reasons[:MAX_REASONS]]
        more = sum(n for _, n in reasons[MAX_REASONS:])
        text += (
            f" {of.rejected:,} were rejected: {', '.join([*shown, *([f'other reasons ({more:,})'] if more else [])])}."
        )
    notes = facts.get("notes", [])
    if notes and "redacted" in result.manifest:
        text += f" {notes[0][:1].upper()}{notes[0][1:]}."
    elif notes:
        which = "A note says" if len(notes) == 1 else f"{len(notes):,} notes say"
        text += f" {which} how the set was read, and what was not."
    return text


def weakened_by(result: AuditResult) -> tuple[str, ...]:
    """The messages of the input checks that did not pass, as sentences."""
    return tuple(
        f"{c.message[:1].upper()}{c.message[1:]}." for c in result.input_checks if c.status != "pass" and c.message
    )
