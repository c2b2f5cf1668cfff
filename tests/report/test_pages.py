"""The report as people see it, in a real browser, and what its author may publish."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import mlcroissant
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser

import unveil
from tests.browser import PHONE, Watched, chromium, needs_browser
from tests.cli.runner import unveil as command_line
from unveil.report.audit_facts import provenance, reviewers, threat_model, unit
from unveil.report.first_page import AUDIT_AGAIN
from unveil.report.html import render
from unveil.report.junit import junit
from unveil.report.markdown import markdown
from unveil.report.redact import redact
from unveil.report.templating import label_cells
from unveil.report.text import false_findings, number, percent
from unveil.results import IdentityMatch
from unveil.review import VerdictStore
from unveil.runs.finished import FinishedRun
from unveil.stats.checks import Check
from unveil.stats.next_step import next_step
from unveil.stats.statements import AGAINST_CONTROL
from unveil.types import Estimate

Audited = tuple[unveil.AuditResult, Path]
MOST_BYTES = 5 * 2**20


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def reviewed(audited: Audited, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The audited run, looked at by two reviewers, with its report written anew."""
    run = Path(shutil.copytree(audited[1], tmp_path_factory.mktemp("reviewed") / "run"))
    pairs = FinishedRun(run).pairs
    findings, control = [p for p in pairs if p.significant], [p for p in pairs if p.role == "control"]
    store = VerdictStore(run)
    for who in ("anna <b>", "ben"):
        for i, pair in enumerate([*findings[:20], *control[:10]]):
            wrong = who == "ben" and i in (3, 25)
            verdict = "same person" if (pair.role == "training") != wrong else "different"
            store.add(who, (pair.synthetic_id, pair.real_id, pair.role), verdict, blind=True)
    store.close()
    done = command_line("report", run, "--redact")
    assert done.returncode == 0
    assert "60 verdicts by anna <b>, ben on 30 pairs." in done.stdout
    assert "Reviewers call 19 of 19 decided findings (82.4% to 100.0%, 95% interval) leaks, and 0 of 9" in done.stdout
    return run


def test_an_untouched_report_is_written_anew_to_the_byte(audited: Audited, tmp_path: Path) -> None:
    run = Path(shutil.copytree(audited[1], tmp_path / "run"))
    before = {f.relative_to(run): f.read_bytes() for f in run.rglob("*") if f.is_file()}
    assert command_line("report", run, "--redact").returncode == 0
    # Without the images, the report in the run stays as it is.
    lost = command_line("report", run, "--synthetic", tmp_path / "gone")
    assert lost.returncode == 2 and "would lose its faces" in " ".join(lost.stderr.split())
    assert {f.relative_to(run): f.read_bytes() for f in run.rglob("*") if f.is_file()} == before


def test_verdicts_stand_in_the_report(reviewed: Path) -> None:
    page = (reviewed / "report.html").read_text()
    assert "confirmed by 2 of 2" in page and "confirmed by 1 of 2" in page and "anna &lt;b&gt; and ben" in page
    told = json.loads((reviewed / "audit.json").read_text())["review"]
    assert told["reviewers"] == ["anna <b>", "ben"] and told["n_verdicts"] == told["n_blind"] == 60
    assert (told["reviewer_precision"]["value"], told["reviewer_precision"]["n"]) == (1, 19)  # one of 20 is a tie
    assert (told["reviewer_false_positive_rate"]["value"], told["reviewer_false_positive_rate"]["n"]) == (0, 9)
    published = (reviewed / "publish/report.md").read_text()
    assert "share of decided findings that reviewers call leaks | 1.000" in published
    assert "share of control pairs that reviewers call leaks | 0.000" in published
    cells = re.sub(r"<[^>]*>", " ", page.partition('id="review"')[2].partition("</table>")[0])
    assert "19 of 19 100.0% " in cells.replace("  ", " ") and "0 of 9 0.0% " in cells.replace("  ", " ")
    nameless = (reviewed / "report.redacted.html").read_text() + (reviewed / "audit.redacted.json").read_text()
    assert "anna" not in nameless and "reviewer 1" in nameless


def test_reading_order(reviewed: Path) -> None:
    page = (reviewed / "report.html").read_text()
    order = [
        "<h1",
        "Main numbers",
        *(f'id="{name}"' for name in ("examples", "do", "untested", "evidence")),
        *(
            f'id="{name}"'
            for name in (
                "people",
                "closest",
                "review",
                "control",
                "risks",
                "kinds",
                "power",
                "hubs",
                "checks",
                "rejects",
                "limitations",
                "record",
                "glossary",
            )
        ),
    ]
    places = [page.index(mark) for mark in order]
    assert places == sorted(places)
    assert set(re.findall(r'href="#([\w-]+)"', page)) <= set(re.findall(r'id="([\w-]+)"', page))


@needs_browser
@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("report.html", "light"),
        ("report.html", "dark"),
        ("report.pairs-1.html", "light"),
        *(
            pytest.param(name, scheme, marks=pytest.mark.nightly)
            for name, scheme in (
                ("report.redacted.html", "light"),
                ("report.redacted.html", "dark"),
                ("report.pairs-1.html", "dark"),
            )
        ),
    ],
)
def test_pages_for_everybody(reviewed: Path, browser: Browser, name: str, scheme: str) -> None:
    file = reviewed / name
    assert file.stat().st_size <= MOST_BYTES
    watched = Watched(browser, scheme=scheme)
    watched.page.goto(file.as_uri())
    watched.page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert not watched.violations()
    watched.page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    assert not watched.phone_faults() and not watched.broken_words() and not watched.violations()
    # Nothing but the file itself and pictures inside it.
    assert all(url == file.as_uri() or url.startswith("data:") for url in watched.asked) and not watched.wrong


@needs_browser
def test_tables_are_cards_on_a_phone(reviewed: Path, browser: Browser) -> None:
    """Each cell has the heading of its column above it, and no table needs scrolling."""
    page = browser.new_context(viewport=PHONE).new_page()  # type: ignore[arg-type]
    page.goto((reviewed / "report.html").as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert page.locator("thead").count() >= 8 and not any(head.is_visible() for head in page.locator("thead").all())
    label = "getComputedStyle(document.querySelector('[aria-label=\"Input checks\"] tbody td'), '::before').content"
    assert page.evaluate(label) == '"check"'
    widest = "Math.max(...[...document.querySelectorAll('.scroll table')].map(t => t.scrollWidth - t.clientWidth))"
    assert page.evaluate(widest) <= 0
    page.set_viewport_size({"width": 1400, "height": 900})
    assert page.locator("thead").first.is_visible() and page.evaluate(label) in ("none", "normal")


def test_an_inconclusive_report_begins_with_the_next_step(audited: Audited) -> None:
    failed = Check("size of control", "fail", Estimate(3, 3, 3, 1, 3, "counted"), "3 control people", AGAINST_CONTROL)
    step = next_step("inconclusive", (failed,), has_control=True, training_labelled=True)
    result = replace(audited[0], verdict="inconclusive", evidence=(), input_checks=(failed,), next_step=step)
    page = render(result, None)
    assert page.index("<h1") < page.index("Get a verdict.") < page.index("Exposed people</h2>")
    assert "Give a larger control set" in page and "the test of training people as a group" in page
    assert "**Next step:** `--control`" in markdown(redact(result)) and "Next step: --control." in junit(redact(result))


def test_false_findings_stand_beside_every_list(reviewed: Path, audited: Audited) -> None:
    expected = {"people": audited[0].expected_false_people, "identities": audited[0].expected_false_identities}
    sentences = {name: false_findings(n, 0.05) for name, n in expected.items()}
    sentence = sentences["people"]
    assert sentence.endswith("of them are expected to be false (false discovery rate 5%).")
    assert audited[0].expected_false_people == pytest.approx(0.05 * len(audited[0].significant_people))
    page = (reviewed / "report.html").read_text()
    for section, own in sentences.items():
        assert own in page.partition(f'id="{section}"')[2].partition("<h2")[0], section
    pages = ("report.pairs-1.html", "publish/report.md", "publish/datasheet.md", "publish/croissant.json")
    assert not [name for name in pages if sentence not in (reviewed / name).read_text()]
    for name, own in sentences.items():
        assert own.encode() in pq.read_schema(reviewed / f"{name}.parquet").metadata[b"note"]


def test_published_texts_draw_no_legal_conclusion(reviewed: Path) -> None:
    text = (reviewed / "publish/datasheet.md").read_text() + (reviewed / "publish/croissant.json").read_text()
    assert "legal question" in text and "risk (WP216)" in text and "not assessed" in text
    assert not re.search(r"publishes their biometric|are biometric data|probably|probability of membership", text)


def test_a_datasheet_states_the_audit(reviewed: Path, audited: Audited) -> None:
    result, page = audited[0], (reviewed / "publish/datasheet.md").read_text()
    for text in ("Against which attacker", "What is counted?", "Where do the audited data come from?", AUDIT_AGAIN):
        assert text in page
    assert "2 reviewers inspected 30 pairs, 60 of 60 verdicts blind." in page and "cannot be leaks" in page
    assert "already published" in page and reviewers(result) == "Nobody has reviewed the pairs."
    assert unit(result).startswith("A person") and "face and appearance" in threat_model(result)
    counts = result.counts["training"]
    unlabelled = {**result.counts, "training": replace(counts, unlabelled=counts.embedded)}
    del unlabelled["control"]
    bare = replace(result, counts=unlabelled)
    assert unit(bare).startswith("An image") and provenance(bare)[2] == "There was no control set."
    assert " people" not in provenance(bare)[1]


def test_a_rate_that_control_people_cannot_show_has_a_reason(audited: Audited) -> None:
    first = (audited[0].membership or ())[0]
    assert first.tpr_at_fpr["0.001"] is None and "at least 1,000 are needed" in first.not_resolved["0.001"]
    page = render(audited[0], None)
    assert page.count("too few control people") >= 4 and first.not_resolved["0.001"] in page
    few = tuple(
        replace(m, tpr_at_fpr={**m.tpr_at_fpr, "0.01": None}, not_resolved={"0.01": "60 are too few"})
        for m in audited[0].membership or ()
    )
    result = replace(audited[0], membership=few)
    assert "score higher than 90% of control people" in render(result, None)
    assert "false positive rate of 10%" in markdown(redact(result))


def test_the_p_value_of_the_global_test_and_the_q_values_can_be_followed(audited: Audited) -> None:
    """The p-value that decides is the smallest of the table times their number, and the share behind q is stated."""
    result = audited[0]
    assert result.global_test is not None and result.membership and result.detection_limit is not None
    tested = result.membership[:3]
    assert result.global_test.n_scores == 3
    assert result.global_test.p_value == pytest.approx(3 * min(score.global_p for score in tested))
    page = render(result, None)
    names = "(by all channels, face alone and appearance alone), times 3."
    assert f"{number(result.global_test.p_value)}: the smallest of 3 p-values {names}" in page
    assert '<th class="n">global p before times 3</th>' in page
    few = f"Conformal q-values count the {percent(result.detection_limit.chance_share)} of training people whom chance"
    assert few in page and 'id="term-chance-share"' in page
    alone = replace(result, global_test=replace(result.global_test, n_scores=1))
    assert "times 3" not in render(alone, None) and '<th class="n">global p</th>' in render(alone, None)
    more = replace(result, detection_limit=replace(result.detection_limit, chance_share=1.04))
    assert "Conformal q-values count 104% of training people (" in render(more, None)
    whole = replace(result, detection_limit=replace(result.detection_limit, chance_share=1.0))
    assert "q-values of the GPD tail count all" not in render(whole, None)


def test_a_finding_by_a_whole_identity_says_how_many_images_agree_and_is_redacted(audited: Audited) -> None:
    first, *others = audited[0].significant_people
    by_identity = replace(first, identity=IdentityMatch("Jane Doe", 7, 6, 0.41))
    result = replace(audited[0], people=(by_identity, *others))
    page = render(result, None)
    assert "synthetic identity Jane Doe (cosine 0.410): 6 of its 7 images have this person" in page
    redacted = redact(result)
    assert redacted.people[0].identity is not None and redacted.people[0].identity.n_agreeing == 6
    assert "Jane Doe" not in render(redacted, None)


def test_cells_get_the_heading_of_their_column() -> None:
    table = '<table><thead><tr><th>a <b>b</b></th><th class="n">c</th></tr></thead><tbody>{}</tbody></table>'
    row = '<tr><th scope="row">1</th><td class="n">2</td></tr>'
    assert label_cells(table.format(row * 2)) == table.format(
        '<tr><th data-label="a b" scope="row">1</th><td data-label="c" class="n">2</td></tr>' * 2
    )
    bare = "<table><tbody><tr><td>1</td></tr></tbody></table>"
    assert label_cells(bare) == bare


@needs_browser
def test_printing_shows_what_is_folded(reviewed: Path, browser: Browser, tmp_path: Path) -> None:
    page = browser.new_page()
    page.goto((reviewed / "report.html").as_uri())
    page.emulate_media(media="print")
    folded = page.locator("details pre").last
    assert folded.bounding_box() is not None and "sha256" in folded.inner_text()
    assert page.pdf(path=tmp_path / "report.pdf").startswith(b"%PDF")
    assert page.locator("nav").first.is_hidden()


def test_what_is_published_names_nobody(reviewed: Path) -> None:
    finished = FinishedRun(reviewed)
    names = {p.person for p in finished.result.people} | {p.synthetic_id for p in finished.pairs}
    names |= {str(place) for place in finished.values.values() if isinstance(place, str) and "/" in place}
    texts = {f.name: f.read_text() for f in (reviewed / "publish").iterdir()}
    assert set(texts) == {"report.md", "junit.xml", "croissant.json", "datasheet.md"}
    for name, text in texts.items():
        assert not [n for n in names if n in text] and "anna" not in text and "data:image" not in text, name


def test_junit_is_a_gate(reviewed: Path, tmp_path: Path) -> None:
    suite = ElementTree.parse(reviewed / "publish" / "junit.xml").getroot()[0]  # noqa: S314 (our own file)
    verdict, *checks = suite
    assert suite.get("failures") == "1" and verdict[0].tag == "failure" and verdict[0].get("message") == "leak found"
    assert len(checks) == int(str(suite.get("tests"))) - 1 >= 10 and all(c[0].tag == "system-out" for c in checks)


@pytest.mark.filterwarnings("ignore")  # of the libraries that it brings along
def test_croissant_is_read_by_its_own_library(reviewed: Path) -> None:
    sidecar = json.loads((reviewed / "publish" / "croissant.json").read_text())
    metadata = mlcroissant.Dataset(jsonld=sidecar).metadata
    assert not metadata.ctx.issues.errors
    assert "150 of 150 images of 150 people" in sidecar["rai:dataCollectionRawData"]
    assert (
        metadata.data_release_maintenance_plan == AUDIT_AGAIN and "2 reviewers" in metadata.data_annotation_analysis[0]
    )
    named = {v["name"] for v in sidecar["additionalProperty"]}
    assert {"threat model of the audit", "unit of the audit", "residual risk after the audit"} <= named
    assert metadata.conforms_to is not None and "leak found" in metadata.personal_sensitive_information[0]
    assert any("No verdict proves" in said for said in metadata.data_limitations)
    exposed = next(v for v in sidecar["additionalProperty"] if v["name"] == "training people exposed")
    assert exposed["minValue"] <= exposed["value"]
