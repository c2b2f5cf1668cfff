"""The terms that a report explains: on hover, and in a list at its end."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

# Longer words do not fit a phone.
MAX_WORD = 30
# Term and meaning, in the order of the list. docs/explanation/glossary.md has them all.
TERMS: dict[str, str] = {
    "synthetic set": "The dataset that was audited.",
    "training people": "The people whose images trained the generator of the synthetic set.",
    "control people": "Real people whom the generator never saw. Their scores show what chance does.",
    "exposed": "Closer to the synthetic set than chance explains.",
    "significant": "Reported by a test at the false discovery rate that was chosen.",
    "cosine": "How similar two images are to a model: 1 for the same direction, 0 for none in common.",
    "score": (
        "How close a person's best pair is: 0 is the median of real people and 15% are below -1, as estimated from the "
        "lowest 30%."
    ),
    "channel": "One way to compare images: by the face, by its appearance, or as a whole copy.",
    "hub image": "An image that is close to everybody. That it is close to one person says little.",
    "p-value": "The probability of a result as extreme as this one if nothing had leaked.",
    "conformal p-value": "A p-value by counting: the share of control people who score as high.",
    "GPD tail": "A curve (generalised Pareto distribution) fitted to the closest control people. It gives smaller "
    "p-values than counting.",
    "q-value": "The share of false findings to expect among a person and all more exposed ones.",
    "false discovery rate": "The share of false findings to expect among all findings (FDR).",
    "chance share": "The estimated share of training people whom chance explains. Conformal q-values count them only.",
    "false positive rate": "The share of control people who are reported although they cannot have leaked (FPR).",
    "true positive rate": "The share of training people who are reported.",
    "AUC": "How well scores separate training from control people: 0.5 is chance, 1 is perfect.",
    "confidence interval": "A range that contains the true value in 95% of audits.",
    "global test": "One test of whether anything leaked at all. It names nobody. The smallest p-value by any of its "
    "scores is multiplied by their number.",
    "search": "A training person is searched for among the other training people, to see how close chance comes.",
    "crowd test": "One test, without control people, of whether too many training people have a close image.",
    "label link": "Synthetic classes resemble the training classes of the same label more than others.",
    "planted leak": "A changed image of a control person, added to measure what the audit finds.",
    "input check": "A test of the inputs for faults that could give a finding without a leak, or hide one.",
    "stratum": "A group of people who are compared only with each other.",
    "singling out": "Isolating one person: here, claiming from closeness that a person was in the training set.",
    "linkability": "Linking two photographs of one person by way of the synthetic set.",
    "inference": "Deducing an attribute of a person from the synthetic set.",
    "reviewer precision": "The share of reviewed findings that reviewers call the same image or the same person.",
    "resamples": "Repeated random draws of images and people, which show how much a finding depends on the draw.",
}


def anchor(term: str) -> str:
    """The id of a term in the list."""
    return "term-" + term.lower().replace(" ", "-")


def term(name: str, shown: str | None = None) -> Markup:
    """A link to a term, with its meaning on hover. Raises KeyError for an unknown term."""
    return Markup('<a class="term" href="#{}" title="{}">{}</a>').format(
        anchor(name), TERMS[name], name if shown is None else shown
    )


def hint(name: str) -> Markup:
    """A term with its meaning on hover, where a link would be repeated too often."""
    return Markup('<abbr title="{}">{}</abbr>').format(TERMS[name], name)


def command(line: str) -> Markup:
    """A command that breaks between its words, and inside long ones only."""
    return Markup(" ").join(
        Markup('<span class="word">{}</span>').format(word) if len(word) <= MAX_WORD else escape(word)
        for word in line.split(" ")
    )


# In escaped text, where the only further separators would be within entities, which have none.
_SEPARATOR = re.compile(r"([/\\_\-. :])")


def breakable(name: str) -> Markup:
    """A name of a file or person that may break after its separators, and nowhere else unless it has none."""
    return Markup(_SEPARATOR.sub(r"\1<wbr>", str(escape(name))))  # noqa: S704 (escaped here)
