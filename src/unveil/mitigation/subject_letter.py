"""The answer to a person who asks whether they are in a dataset. It names nobody else and no file.

It states what was measured. A p-value is not a probability of membership, so the letter never gives one.
"""

from __future__ import annotations

from unveil.io.output_file import OutputKind, beginning_with
from unveil.mitigation.person_lookup import SURE, Answer, AuditedPerson, LookupAnswer, Search, audited_person
from unveil.report.text import number
from unveil.results import AuditResult
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
    "rather close": "One of them is rather close to {yours}, but this often happens by chance.",
    "not close": "None of them is closer to {yours} than chance explains.",
    "not known": NOT_KNOWN,
}
AUDITED = {
    "file": "The audit found that one of them is unusually close to an image of the person in the file you sent.",
    "training image": "The audit found that one of them is unusually close to an image of a real person, and this "
    "person's image is the one closest to {yours}.",
    "generated image": "The audit found that the one closest to {yours} is unusually close to an image of a real "
    "person. This search cannot show whether that person is you.",
}
# Beside a finding of the audit, the search itself says only what it adds.
BESIDE: dict[LookupAnswer, str] = {
    "unusually close": "This search finds it as well.",
    "rather close": "By {yours} alone, this could be chance.",
    "not close": "By {yours} alone, this search would not show it.",
    "not known": "",
}


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
        *(_found(search, yours, audited if search.role == "synthetic" else None) for search in searches),
        *(() if own else (NOT_OWN,)),
        _certainty(result),
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
    said = [SENTENCES[search.answer]] if audited is None else [AUDITED[audited.by], BESIDE[search.answer]]
    parts = (SETS[search.role], *(sentence.format(yours=yours) for sentence in said), _closeness(search))
    return " ".join(part for part in parts if part)


def _closeness(search: Search) -> str:
    if search.p is None:
        return ""
    n = round(search.p * (search.n_people + 1)) - 1
    closer = f"{n:,} of {search.n_people:,}" if n > 0 else f"none of {search.n_people:,}"
    return f"Of people who are in none of these images, {closer} came as close (p = {number(search.p)})."


def _certainty(result: AuditResult) -> str:
    sentences = [
        "How certain is this? Automatic comparison makes errors in both directions. About 1 in "
        f"{1 / SURE:.0f} people who are in none of these images gets the answer that an image is unusually close.",
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
