"""A lookup's answer in plain language, for the person who asked. It names nobody else and no file."""

from __future__ import annotations

from unveil.mitigation.person_lookup import SURE, Answer, LookupAnswer, Search
from unveil.report.text import number
from unveil.results import AuditResult
from unveil.types import Role

NOT_KNOWN = (
    "We can show which of them are closest to you, but not whether that means anything: the comparison with people who "
    "are not in any of these pictures, which would tell, was not made."
)
WORDS: dict[Role, dict[LookupAnswer, str]] = {
    "synthetic": {
        "found": "The generated pictures. At least one of them looks so much like you that it is very unlikely to be "
        "chance.",
        "perhaps": "The generated pictures. One of them looks somewhat like you, but this may be chance.",
        "not found": "The generated pictures. None of them looks more like you than chance would have it.",
        "not known": f"The generated pictures. {NOT_KNOWN}",
    },
    "training": {
        "found": "The pictures the generator was trained on. You are very probably among the people on them.",
        "perhaps": "The pictures the generator was trained on. One of them looks somewhat like you, but this may be "
        "chance.",
        "not found": "The pictures the generator was trained on. None of them looks more like you than chance would "
        "have it.",
        "not known": f"The pictures the generator was trained on. {NOT_KNOWN}",
    },
}


def letter(answer: Answer, result: AuditResult) -> str:
    """The answer as paragraphs of text."""
    n, searches = answer.n_photos, (answer.synthetic, answer.training)
    parts = [
        f"We compared {n} {'photographs' if n > 1 else 'photograph'} of you with {searches[0].n_searched:,} generated "
        f"pictures and with {searches[1].n_searched:,} pictures of real people that the generator was trained on. "
        "Your photographs were not kept.",
        *(f"{WORDS[search.role][search.word]} {_closeness(search)}".strip() for search in searches),
        _how_sure(result),
    ]
    return "\n\n".join(parts) + "\n"


def _closeness(search: Search) -> str:
    if search.p is None:
        return ""
    n = round(search.p * (search.n_people + 1)) - 1
    closer = f"{n:,} of {search.n_people:,}" if n > 0 else f"none of {search.n_people:,}"
    return f"Of people who are not in these pictures, {closer} came as close as you did (p = {number(search.p)})."


def _how_sure(result: AuditResult) -> str:
    said = [
        "How sure is this? A computer's judgement of faces can be wrong in both directions. Of people who are in none "
        f"of these pictures, about 1 in {1 / SURE:.0f} would be told that they are."
    ]
    finest = [o for s in result.verification for o in s.operating if o.fmr <= 0.001]
    if finest:
        tpr = finest[0].tpr
        said.append(
            f"It knows two photographs of one person again in {tpr.value:.0%} of cases ({tpr.low:.0%} to "
            f"{tpr.high:.0%}) when it may take one stranger in a thousand for somebody else."
        )
    said.append(
        "That nothing was found is no proof that you are not in them. You can ask that people look at the pictures."
    )
    return " ".join(said)
