"""The first page answers a reader's questions without help, and its commands exist."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

import unveil
from tools import reference
from unveil.report.croissant import measured
from unveil.report.datasheet import datasheet
from unveil.report.first_page import (
    HOLD,
    answers,
    audited_images,
    examples,
    meaning,
    not_tested,
    odds,
    steps,
    weakened_by,
)
from unveil.report.glossary import TERMS, anchor, breakable, command, term
from unveil.report.html import _signed, render
from unveil.report.markdown import markdown
from unveil.report.redact import redact
from unveil.report.text import _not_compared, number, percent
from unveil.results import HubnessFinding, ImageCopy, LabelLink, NoControl, Review
from unveil.stats.checks import Check
from unveil.stats.intervals import share
from unveil.stats.next_step import next_step
from unveil.stats.no_control import CrowdTest
from unveil.types import Estimate, Reject

DOCS = Path(__file__).parents[2] / "docs"
Audited = tuple[unveil.AuditResult, Path]


def names(result: unveil.AuditResult) -> list[str]:
    return [step.name for step in steps(result)]


def test_a_leak_is_answered(audited: Audited) -> None:
    result = audited[0]
    people, wrong, sure = answers(result)
    significant, exposed = len(result.significant_people), result.exposed_people
    assert exposed is not None and result.global_test is not None
    assert (
        people.answer == f"{significant} people"
        and "of 150 people of the training set are reported." in people.sentence
    )
    assert f"at least {exposed.low:.0f} are exposed, with 95% confidence" in people.sentence
    assert wrong.answer == f"about {0.05 * significant:.0f} of {significant}" and "at most 5%" in wrong.sentence
    assert sure.answer == "no" and "No two different photographs are." in sure.sentence
    tested = answers(replace(result, copies=()))[2]
    assert tested.answer == odds(result.global_test.p_value) and "whom the generator never saw" in tested.sentence
    assert names(result) == ["review", "clean", "guard", "answer a person", "audit again"]
    page = render(result, None)
    first = page.partition('id="evidence"')[0]
    for text in (HOLD, meaning(result), people.answer, wrong.answer, sure.answer, *not_tested(result)):
        assert text in first
    assert "unveil clean . --copy cleaned" in re.sub("<[^>]*>", "", first)


def test_a_redacted_page_gives_steps_without_commands(audited: Audited) -> None:
    """Whoever has it has nothing to run them on. The command of the audit names each set."""
    page = render(redact(audited[0]), None)
    first = page.partition('id="evidence"')[0]
    assert "<b>Review.</b>" in first and "<pre>" not in first and "Run the commands" not in first
    command = re.search(r'id="record">.*?<pre>(.*?)</pre>', page, re.DOTALL)
    assert command is not None
    words = re.sub("<[^>]+>", "", command[1])
    assert words == "unveil audit --synthetic ... --training ... --control ..."


def test_the_summary_says_once_how_many_findings_are_false(audited: Audited) -> None:
    assert markdown(redact(audited[0])).count("of them are expected to be false") == 1


def test_hub_images_are_those_beyond_chance(audited: Audited) -> None:
    result = audited[0]
    name = result.significant_people[0].person
    page = render(
        replace(result, hubness=(HubnessFinding("t.png", name, 40, 0), HubnessFinding("u.png", "x", 2, 0))), None
    )
    table = page.partition('id="hubs"')[2].partition("<h2")[0]
    assert "t.png" in table.replace("<wbr>", "") and "u.png" not in table.replace("<wbr>", "") and ">yes<" in table
    assert "None is." in render(replace(result, hubness=()), None)


def test_a_difference_that_rounds_to_nothing_has_no_sign() -> None:
    assert _signed(Estimate(-0.004, -0.01, 0.004, 0.95, 9, "made up")) == "0.00 (-0.01 to 0.00)"
    assert _signed(Estimate(0.12, -0.08, 0.3, 0.95, 9, "made up")) == "+0.12 (-0.08 to +0.30)"


def test_an_estimate_at_its_lower_limit_is_a_range(audited: Audited) -> None:
    """The exact lower limit can be above the estimate, which then is the lower end of its interval."""
    share = Estimate(0.2, 0.2, 0.4, 0.95, 150, "drawn")
    sentence = answers(replace(audited[0], exposed_share=share))[0].sentence
    assert sentence.endswith("The estimated number of exposed people is 30 to 60 (95% interval).")
    apart = answers(replace(audited[0], exposed_share=replace(share, value=0.3)))[0].sentence
    assert apart.endswith("The estimated number of exposed people is about 45 (30 to 60, 95% interval).")


def test_examples_are_the_most_exposed_of_each_kind_whom_no_control_person_equals(audited: Audited) -> None:
    people = list(audited[0].significant_people)
    last = people[-1]
    assert last.kind is not None
    people[-1] = replace(last, kind=replace(last.kind, kind="appearance match"))
    result = replace(audited[0], people=tuple(people))
    shown, best = examples(result), [p for p in people if p.p == pytest.approx(1 / 301)]
    assert "appearance match" not in {p.kind.kind for p in best if p.kind}
    kinds = list(dict.fromkeys(p.kind.kind for p in best if p.kind))
    assert len(shown) == 3 and shown[0] == people[0] and set(shown) <= set(best)
    assert [p.kind.kind for p in shown if p.kind][: len(kinds)] == kinds
    assert all(p == next(q for q in best if q.kind and p.kind and q.kind.kind == p.kind.kind) for p in shown[:2])
    assert examples(replace(result, people=(people[0],))) == (people[0],)
    equalled = [p for p in people if p not in best]
    fewest = min(p.p for p in equalled if p.p is not None)
    assert {p.p for p in examples(replace(result, people=tuple(equalled)))} == {fewest}
    copied = replace(equalled[-1], significant_by=("exact copy",))
    assert copied in examples(replace(result, people=(*best[:2], copied)))


def test_the_number_of_a_person_is_a_count_of_control_people(audited: Audited) -> None:
    """A false discovery rate on a card would read as the doubt about this person; it is that of a group."""
    result = audited[0]
    people = result.significant_people
    first, last = people[0], max(people, key=lambda p: p.p or 0)
    page = render(replace(result, people=(*people, *(p for p in result.people if p not in people))), None)
    assert '<p class="number"><b>None of 300</b> control people is as close</p>' in page
    assert first.q is not None and first.q_gpd is not None and first.p_gpd is not None and last.p is not None
    up_to = sum(p.q is not None and p.q <= first.q for p in result.people)
    by_tail = sum(p.q_gpd is not None and p.q_gpd <= first.q_gpd for p in result.people)
    assert (
        f"Expected to be false: {percent(first.q)} of the {up_to} people up to this q-value by conformal p-values, "
        f"{percent(first.q_gpd)} of {by_tail} by a fitted tail (GPD, p = {number(first.p_gpd)})."
    ) in page
    only = render(replace(result, people=(last,)), None)
    n = round(last.p * 301) - 1
    assert n > 1 and f'<p class="number"><b>{n} of 300</b> control people are as close</p>' in only
    assert "is the doubt" not in page and "It is not the doubt about this person." in page


def test_other_verdicts_have_other_answers_and_steps(audited: Audited) -> None:
    result = audited[0]
    nobody = tuple(replace(p, significant_by=()) for p in result.people)
    none = replace(
        result,
        verdict="none detected",
        evidence=(),
        people=nobody,
        expected_false_people=0.0,
        copies=(),
        improbable_pairs=(),
    )
    people, wrong, sure = answers(none)
    assert people.answer == "nobody found" and wrong.answer == "nobody is named" and "nobody is missed" in sure.question
    unplanted = answers(replace(none, power=None))[2]
    assert unplanted.question == sure.question and unplanted.answer == "not known" and "No leaks" in unplanted.sentence
    assert names(none) == ["look closer", "answer a person", "audit again"] and "does not prove" in meaning(none)
    group = replace(none, verdict="leak found", evidence=("global test",), synthetic_identities=())
    assert answers(group)[0].answer == "not known" and "can name none" in meaning(group)
    assert "unveil clean RUN --threshold control --copy cleaned" in [c for s in steps(group, "RUN") for c in s.commands]
    step = next_step("inconclusive", (), has_control=False, training_labelled=False)
    uncalibrated = replace(
        none, global_test=None, membership=None, power=None, balance=None, strata=None, stability=None
    )
    open_question = replace(uncalibrated, verdict="inconclusive", next_step=step, exposed_share=None)
    assert [a.answer for a in answers(open_question)] == ["not known", "nobody is named", "not known"]
    assert names(open_question)[0] == "get a verdict" and "audit again" not in names(open_question)
    (command,) = steps(open_question)[0].commands
    assert (
        result.manifest["settings"]["control"] and "--control CONTROL " in command and command.count("--control ") == 1
    )
    # So it is for any option, however often and in whatever form it was typed.
    asked = replace(step, option="--aligned") if step is not None else None
    settings = {**result.manifest["settings"], "aligned": {"synthetic": "yes", "training": "no", "control": "auto"}}
    typed = replace(open_question, next_step=asked, manifest={**result.manifest, "settings": settings})
    (command,) = steps(typed)[0].commands
    assert command.endswith(" --aligned VALUE -o RUN") and command.count("--aligned ") == 1
    assert any("there is no control set" in text for text in not_tested(open_question))
    assert any("no leaks were planted" in text for text in not_tested(open_question))
    assert HOLD in render(result, None) and HOLD not in render(open_question, None)


def test_facts_labels_and_crowds_are_answered(audited: Audited) -> None:
    result = audited[0]
    nobody = tuple(replace(p, significant_by=()) for p in result.people)
    first = replace(result.people[0], significant_by=("exact copy",))
    copy = ImageCopy(first.synthetic_id, first.training_id, first.person, "bytes")
    assert result.global_test is not None
    bare = replace(result, global_test=None, membership=None, exposures=None, exposed_people=None, exposed_share=None)
    bare = replace(bare, improbable_pairs=())
    bare = replace(bare, power=None, people=nobody, synthetic_identities=(), expected_false_people=0.0, copies=())
    copied = replace(bare, evidence=("exact copy",), copies=(copy,), people=(first, *nobody[1:]))
    people, wrong, sure = answers(copied)
    assert people.answer == "1 person" and "The dataset has copies of images of 1 of them" in people.sentence
    assert (wrong.answer, sure.answer) == ("none", "no") and "images of real people" in meaning(copied)
    assert "clean" in names(copied) and "guard" not in names(copied)

    link = LabelLink(True, 1e-4, "equal names", 30, 9_999, share(20, 30), 12)
    linked = replace(bare, evidence=("label link",), label_link=link)
    assert [a.answer for a in answers(linked)] == ["30 classes", "nobody is named", "1 in 10,000"]
    assert names(linked)[0] == "permute the labels" and "clean" not in names(linked)

    assert measured(linked) == "Labels of this set correspond to classes of the training set."
    # A test that is no evidence answers nothing.
    insignificant = replace(linked, global_test=replace(result.global_test, p_value=0.25))
    assert answers(insignificant)[2].answer == "1 in 10,000"
    of_tail = replace(insignificant, evidence=("GPD tail",), people=result.people)
    assert answers(of_tail)[2].answer == "for at most 5%" and "1 in" not in answers(of_tail)[2].sentence
    identities = replace(insignificant, evidence=("identities",))
    assert "identities are closer" in measured(identities) and "group" not in measured(identities)

    crowd = CrowdTest(1e-5, 12, 2.4, 0.02)
    searched = NoControl("there is no control set", 150, "image", 140, crowd, 0.01, None, share(70, 140), ())
    crowded = replace(bare, verdict="leak indicated (no control set)", evidence=("crowd test",), no_control=searched)
    people, _, sure = answers(crowded)
    assert people.answer == "about 10 people" and sure.answer == "1 in 100,000" and "behave like real" in sure.sentence
    assert "because there is no control set" in not_tested(crowded)[1]


def test_reviewers_are_heard_and_the_caution_stays_until_half_is_decided(audited: Audited) -> None:
    precision = Estimate(0.9, 0.7, 0.99, 0.95, 20, "Clopper-Pearson")
    false = Estimate(0.25, 0.1, 0.6, 0.95, 8, "Clopper-Pearson")
    review = Review(("a", "b"), 40, 40, 40, (), precision, false, (), None)
    said = answers(replace(audited[0], review=review))[1].sentence
    control = "and 2 of 8 control pairs, which cannot be leaks."
    assert said.endswith(f"Reviewers call 18 of 20 decided findings leaks, {control}")
    assert "Only a review" not in said
    fewer = answers(replace(audited[0], review=replace(review, n_findings=41)))[1].sentence
    assert "Only a review can tell which, and it has decided 20 of 41. Reviewers call 18 of 20" in fewer
    unknown = replace(review, reviewer_false_positive_rate=None)
    assert answers(replace(audited[0], review=unknown))[1].sentence.endswith("call 18 of 20 decided findings leaks.")
    undecided = answers(replace(audited[0], review=replace(review, reviewer_precision=None)))[1].sentence
    assert undecided.endswith("Only a review can tell which.")


def test_warnings_are_sentences(audited: Audited) -> None:
    checks = (Check("a", "warn", Estimate(1, 1, 1, 1, 1, "counted"), "too few people", ()),)
    assert weakened_by(replace(audited[0], input_checks=checks)) == ("Too few people.",)


@pytest.mark.parametrize(
    ("p", "words"),
    [
        (1, "1 in 1"),
        (0.5, "1 in 2"),
        (0.0031, "1 in 300"),
        (1 / 1900, "1 in 2,000"),
        (2e-6, "1 in 500,000"),
        (1e-9, "less than 1 in a million"),
        (0, "less than 1 in a million"),
    ],
)
def test_probabilities_in_words(p: float, words: str) -> None:
    assert odds(p) == words


def test_commands_of_the_first_page_exist(audited: Audited) -> None:
    commands = reference.commands()
    lines = [c for step in steps(audited[0], "my run") for c in step.commands]
    assert len(lines) >= 6
    for line in lines:
        words = line.split()
        name = " ".join(words[:3]) if words[1] == "guard" else " ".join(words[:2])
        known = set(reference.option_names(commands[name]))
        assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", line)) <= known, line
    assert "unveil review 'my run' --blind --findings" in lines


def test_terms_are_those_of_the_glossary() -> None:
    page = (DOCS / "explanation" / "glossary.md").read_text("utf-8").lower()
    assert [name for name in TERMS if name.lower() not in page] == []
    assert term("AUC") == f'<a class="term" href="#term-auc" title="{TERMS["AUC"]}">AUC</a>'
    assert anchor("GPD tail") == "term-gpd-tail"


def test_names_and_commands_break_between_parts_only() -> None:
    assert breakable("a<b/c_d.png") == "a&lt;b/<wbr>c_<wbr>d.<wbr>png"
    long = "/" + "x" * 40
    assert command(f"unveil a --b {long}") == (
        f'<span class="word">unveil</span> <span class="word">a</span> <span class="word">--b</span> {long}'
    )


def test_the_first_page_says_which_images_were_not_audited(audited: Audited) -> None:
    """Whoever reads no further has to see that a part of a set may hide a leak."""
    result = audited[0]
    n = result.counts["synthetic"]
    assert f"Synthetic: all {n.images:,} images were compared." in audited_images(result)[0]
    counts = {**result.counts, "synthetic": replace(n, embedded=n.images - 4, rejected=4, left_out=5000)}
    reasons = ("no face found", "no face found", "damaged image", "too large", "not an image")
    rejects = {**result.rejects, "synthetic": tuple(Reject(f"{i}.png", "read", why) for i, why in enumerate(reasons))}
    hidden = replace(result, counts=counts, rejects=rejects)
    for shown in (hidden, redact(hidden)):
        first = render(shown, None).partition('id="evidence"')[0]
        assert f"Synthetic: {n.images - 4:,} of {n.images + 5000:,} images were compared. 5,000 were left out" in first
        assert "no face found (2), damaged image (1), too large (1), other reasons (1)." in first
        assert "5,000 further images were left out" in datasheet(shown)
    said = " ".join(_not_compared(counts))
    assert "5,000 further synthetic images were left out" in said and "so leaks in them could be missed" in said
