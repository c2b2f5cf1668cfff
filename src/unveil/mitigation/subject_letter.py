"""The answer to a person who asks whether they are in a dataset. It names nobody else and no file.

It states what was measured. A p-value is not a probability of membership, so the letter never gives one.
"""

from __future__ import annotations

from unveil.io.output_file import OutputKind, beginning_with
from unveil.mitigation.person_lookup import (
    SURE,
    Answer,
    AuditedPerson,
    Comparison,
    LookupAnswer,
    Search,
    audited_person,
)
from unveil.report.text import number
from unveil.results import AuditResult
from unveil.stats.statements import FACTS
from unveil.types import Role

# The first words of every answer.
BEGINNING = "We compared "
LETTER = OutputKind("an earlier answer", beginning_with(BEGINNING))
NOT_KNOWN = (
    "We can show which of them are closest to you, but not whether that means anything. That would need a comparison "
    "with people who are in none of these images, and the audit had no such people."
)
NOT_OWN = (
    "Somebody else made the audit behind this answer. We did not measure again what it says of the images, so "
    "this answer is only as good as their work."
)
SETS: dict[Role, str] = {
    "synthetic": "The generated images.",
    "training": "The images the generator was trained on.",
}
SENTENCES: dict[LookupAnswer, str] = {
    "unusually close": "At least one of them is closer to {yours} than is usual for a person who is in none of them.",
    "closer than all control people": "At least one of them is closer to {yours} than to anybody of the people who are "
    "in none of them. These people are too few to rule out chance.",
    "rather close": "One of them is rather close to {yours}. This can be chance.",
    "not close": "None of them is closer to {yours} than chance explains.",
    "not known": NOT_KNOWN,
}
AUDITED = {
    "file": "The audit found that one of them is unusually close to an image of the person in the file you sent.",
    "training image": "The audit found that one of them is unusually close to an image of a real person, and this "
    "person's image is among those closest to {yours}.",
    "generated image": "The audit found that one of those closest to {yours} is unusually close to an image of a real "
    "person. This search cannot show whether that person is you.",
}
COPIED = "The generated image is identical, or nearly, to that person's image. This is a fact, not an estimate."
# Beside a finding of the audit, the search itself says only what it adds.
BESIDE: dict[LookupAnswer, str] = {
    "unusually close": "This search finds it as well.",
    "closer than all control people": "By {yours} alone, chance cannot be ruled out.",
    "rather close": "By {yours} alone, this could be chance.",
    "not close": "By {yours} alone, this search would not show it.",
    "not known": "",
}
# What is said of the training images where the audit names the person of one of them.
OF_PERSON = "An image of the person of whom the audit found this is among those closest to {yours}."


def letter(answer: Answer, result: AuditResult, *, own: bool = True) -> str:
    """The answer as paragraphs of text; ``own`` says whether this user made the audit."""
    n, searches = answer.n_photos, (answer.synthetic, answer.training)
    yours = "your photographs" if n > 1 else "your photograph"
    audited = audited_person(answer, result)
    parts = [
        f"{BEGINNING}{n} {'photographs' if n > 1 else 'photograph'} of you with {searches[0].n_searched:,} generated "
        f"images and with {searches[1].n_searched:,} images of real people that the generator was trained on. "
        f"{yours.capitalize()} {'were' if n > 1 else 'was'} not stored.",
        *_facts(answer),
        *(_found(search, yours, audited) for search in searches),
        *(() if own else (NOT_OWN,)),
        _certainty(answer, result),
    ]
    return "\n\n".join(parts) + "\n"


def _facts(answer: Answer) -> list[str]:
    """That a file itself is in a set, which needs no comparison."""
    sets = [role for role in SETS if any(file.role == role for file in answer.identical)]
    if not sets:
        return []
    names = {"synthetic": "the generated images", "training": "the images the generator was trained on"}
    where = " and among ".join(names[role] for role in sets)
    return [f"A file you sent is among {where}, identical byte for byte. This is a fact, not an estimate."]


def _found(search: Search, yours: str, audited: AuditedPerson | None) -> str:
    """What the search of a set found. What the audit found of the person stands first."""
    if audited is not None and search.role == "synthetic":
        copied = [COPIED] if not FACTS.isdisjoint(audited.finding.significant_by) else []
        said = [AUDITED[audited.by], *copied, BESIDE[search.answer]]
    elif audited is not None and audited.by != "generated image" and search.answer != "unusually close":
        said = [OF_PERSON]
    else:
        said = [SENTENCES[search.answer]]
    parts = (SETS[search.role], *(sentence.format(yours=yours) for sentence in said), _closeness(search))
    return " ".join(part for part in parts if part)


def _closeness(search: Search) -> str:
    compared = search.compared
    if compared is None:
        return ""
    closer = f"{compared.n_as_close:,}" if compared.n_as_close else "none"
    tests = f", for {compared.n_groups:,} tests" if compared.n_groups > 1 else ""
    p = f"p = {number(compared.p)}{tests}"
    return f"Of people who are in none of these images, {closer} of {compared.n_people:,} came as close ({p})."


def _false_rate(compared: Comparison | None) -> str:
    """How often the strongest answer that this comparison can give is an error."""
    if compared is None:
        return "The audit had no people who are in none of these images, so how often it errs is not known."
    smallest = compared.n_groups / (compared.n_people + 1)
    if smallest <= SURE:
        often, strongest = 1 / SURE, "unusually close"
    else:
        often, strongest = max(1, 1 / smallest), "closer to them than to anybody of the people compared"
    return (
        f"About 1 in {often:.0f} people who are in none of these images gets the answer that an image is {strongest}."
    )


def _certainty(answer: Answer, result: AuditResult) -> str:
    sentences = [
        "How certain is this? Automatic comparison makes errors in both directions.",
        _false_rate(answer.synthetic.compared),
        "So a close image is a reason to look at it, not proof that you are in the set.",
    ]
    finest = [o for s in result.verification for o in s.operating if o.fmr <= 0.001]
    if finest:
        tpr = finest[0].tpr
        sentences.append(
            f"The model recognises two photographs of one person in {tpr.value:.0%} of cases ({tpr.low:.0%} to "
            f"{tpr.high:.0%}) at a false match rate of 1 in 1,000."
        )
    sentences.append("A negative answer is no proof that you are not in the set. You can ask for a human review.")
    return " ".join(sentences)
