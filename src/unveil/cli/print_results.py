"""The results of each command on the terminal."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from unveil import __version__
from unveil.choices import LEAK, NO_LEAK
from unveil.cli.terminal import COPIED_UNREAD, open_console
from unveil.io.host import cores, processor
from unveil.io.run_directory import REDACTED_REPORT
from unveil.io.text import printable
from unveil.report.first_page import steps
from unveil.report.protocol import day, followed
from unveil.report.text import false_findings, number, only_default_model, q_in_words
from unveil.report.units import unit_of
from unveil.results import AuditResult, Power
from unveil.stats.checks import Check

if TYPE_CHECKING:  # a repeated audit answers without them
    from unveil.demo.run import DemoOutcome
    from unveil.mitigation.cleaning import Cleaning
    from unveil.mitigation.person_lookup import Answer, Comparison, LookupMatch, Search
    from unveil.study.report import SetRow

STYLE: dict[str, str] = {**dict.fromkeys(LEAK, "bold red"), **dict.fromkeys(NO_LEAK, "bold green")}
MAX_ROWS = 10
FEW_ROWS = 3


def print_result(result: AuditResult, run: Path, *, redacted: bool = False, verbose: bool = False) -> None:
    """The result in at most 20 lines of 80 characters, then the commands that follow; with ``verbose`` every number."""
    console = open_console()
    console.print()
    console.print(Text(result.verdict.upper(), STYLE.get(result.verdict, "bold yellow")))
    console.print(result.headline, markup=False)
    if result.evidence:
        console.print(f"Evidence: {', '.join(result.evidence)}.", markup=False)
    if result.protocol is not None:
        style = "yellow" if result.protocol.deviations else "default"
        text = f"Protocol of {day(result.protocol)}, SHA-256 {result.protocol.sha256[:16]}. {followed(result.protocol)}"
        console.print(Text(text, style))
    if result.next_step is not None:
        console.print(
            Text("Next step: ", "bold").append(f"{result.next_step.option}. {result.next_step.action}", "default")
        )
    console.print()
    if verbose:
        _print_numbers(console, result, run, redacted=redacted)
    else:
        _print_main_numbers(console, result, run, redacted=redacted)
    console.print(f"Report: {run / 'report.html'}", markup=False)
    if redacted:
        console.print(f"Without faces and names: {run / REDACTED_REPORT}", markup=False)
    _print_next(console, result, run)


def _print_main_numbers(console: Console, result: AuditResult, run: Path, *, redacted: bool) -> None:
    """What was compared, what weakens the result, and the most exposed people."""
    counts, rejected = result.counts, sum(n.rejected for n in result.counts.values())
    left_out = sum(n.left_out for n in counts.values())
    control = ""
    if "control" in counts:
        control = f"; {counts['control'].people:,} control {unit_of(counts, 'control').many}"
    console.print(
        f"Compared: all {result.pairs_compared:,} pairs of {counts['synthetic'].embedded:,} synthetic and "
        f"{counts['training'].embedded:,} training images{control}; {rejected:,} files rejected"
        f"{f', {left_out:,} left out' if left_out else ''}.",
        markup=False,
    )
    noted = sorted((c for c in result.input_checks if c.status != "pass"), key=lambda c: c.status != "fail")
    if noted:
        _print_check(console, noted[0])
    if len(noted) > 1:
        console.print(f"and {len(noted) - 1} more checks that did not pass: see the report", markup=False)
    if result.significant_people and not redacted:
        console.print(_few_people(result))
        _print_more(console, result, run, FEW_ROWS)
    console.print()


def _print_numbers(console: Console, result: AuditResult, run: Path, *, redacted: bool) -> None:
    """Counts, input checks that did not pass, the most exposed people, risks, and the leaks that would be found."""
    for role, n in result.counts.items():
        console.print(
            f"{role:<10} {n.images:>9,} files in = {n.embedded:,} embedded + {n.rejected:,} rejected; "
            + ("no person labels" if n.unlabelled == n.embedded else f"{n.people:,} people")
            + (f"; {n.repeats:,} are duplicates" if n.repeats else "")
            + (f"; {n.left_out:,} more are left out" if n.left_out else "")
            + (f"; {n.several_faces:,} show several faces" if n.several_faces else ""),
            markup=False,
        )
    training = result.counts["training"].embedded
    synthetic = result.counts["synthetic"].embedded - result.counts["synthetic"].repeats
    console.print(
        f"compared   {result.pairs_compared:>9,} pairs = {synthetic:,} x {training:,}, all of them", markup=False
    )
    unit = unit_of(result.counts)
    noted = [check for check in result.input_checks if check.status != "pass"]
    if noted:
        console.print()
        for check in noted:
            _print_check(console, check)
    link = result.label_link
    if link is not None and link.p_value is not None:
        own = 0.0 if link.own_first is None else link.own_first.value
        console.print()
        console.print(
            f"label link by {link.correspondence}: p = {number(link.p_value)}; own training class first for {own:.0%} "
            f"of {link.n_classes:,} synthetic classes, by chance {1 / link.n_classes:.1%}",
            markup=False,
        )
    if result.significant_people and not redacted:
        console.print()
        console.print(_people_table(result))
        _print_more(console, result, run, MAX_ROWS)
    if result.improbable_pairs and not redacted:
        console.print()
        console.print(_improbable_table(result))
    if result.significant_people:
        console.print(false_findings(result.expected_false_people, result.manifest["settings"]["fdr"]), markup=False)
    if result.exposed_share is not None and result.verdict != "inconclusive":
        share = result.exposed_share
        console.print(
            f"Estimated share of training {unit.many} exposed: {share.value:.0%} "
            f"({share.low:.0%} to {share.high:.0%}). Those whose scores look like chance are missed.",
            markup=False,
        )
    console.print()
    for risk in result.privacy_risks:
        estimate = risk.risk
        measured = (
            f"not assessed. {risk.not_assessed_because}"
            if estimate is None
            else f"{estimate.value:.1%} ({estimate.low:.1%} to {estimate.high:.1%})"
        )
        console.print(f"risk of {risk.criterion}: {measured}", markup=False)
    if result.power is not None:
        console.print()
        console.print(_power_table(result.power))
    console.print()


def _print_check(console: Console, check: Check) -> None:
    """The status and the message of an input check."""
    style = "bold red" if check.status == "fail" else "yellow"
    console.print(Text(f"{check.status}: ", style).append(check.message, "default"))


def _print_more(console: Console, result: AuditResult, run: Path, shown: int) -> None:
    """How many significant people are not shown, and where they are."""
    more = len(result.significant_people) - shown
    if more > 0:
        console.print(f"and {more:,} more in {run / 'people.parquet'}", markup=False)


def _print_next(console: Console, result: AuditResult, run: Path) -> None:
    """The commands that follow, without the one that was just run."""
    todo = [step for step in steps(result, str(run)) if step.commands and step.name != "audit again"]
    if not todo:
        return
    console.print()
    console.print("next:", style="bold")
    width = max(len(step.name) for step in todo)
    for step in todo:
        for i, command in enumerate(step.commands):
            console.print(f"  {'' if i else step.name:<{width}}  {command}", markup=False)


def _few_people(result: AuditResult) -> Table:
    """The most exposed people in one line each."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("most exposed", "kind", "closest synthetic image"):
        table.add_column(name, no_wrap=True)
    table.add_column("q", justify="right", no_wrap=True)
    for p in result.significant_people[:FEW_ROWS]:
        kind = "" if p.kind is None else p.kind.kind
        table.add_row(Text(p.person), kind, Text(p.synthetic_id), q_in_words(p))
    return table


def _people_table(result: AuditResult) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("most exposed")
    calibrated = result.global_test is not None or result.no_control is not None
    for name in ("score", "q", "q (GPD tail)") if calibrated else ("score",):
        table.add_column(name, justify="right")
    table.add_column("kind")
    several = len(result.channels) > 1
    if several:
        table.add_column("channel")
    by_identity = any(p.identity is not None for p in result.significant_people)
    if by_identity:
        table.add_column("images that agree", justify="right")
    table.add_column("closest synthetic image")
    for p in result.significant_people[:MAX_ROWS]:
        qs = ["" if q is None else number(q) for q in (p.q, p.q_gpd)] if calibrated else []
        kind = "" if p.kind is None else p.kind.kind
        by = [p.channel] if several else []
        if by_identity:
            by.append("" if p.identity is None else f"{p.identity.n_agreeing} of {p.identity.n_images}")
        table.add_row(Text(p.person), f"{p.score:.2f}", *qs, kind, *by, Text(p.synthetic_id))
    return table


def _improbable_table(result: AuditResult) -> Table:
    """Pairs that are closer than false matches are."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("closer than false matches")
    for name in ("cosine", "expected by chance"):
        table.add_column(name, justify="right")
    table.add_column("synthetic image")
    for pair in result.improbable_pairs[:MAX_ROWS]:
        row = (f"{pair.cosine:.3f}", number(pair.expected), Text(pair.synthetic_id))
        table.add_row(Text(pair.person), *row)
    return table


def _power_table(power: Power) -> Table:
    """Planted leaks that were detected: a row for each kind, with every strength."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("detection limit")
    table.add_column(f"share of {power.n_people} planted people detected if one leaks")
    for kind in dict.fromkeys(r.kind for r in power.recalls):
        steps = [f"{r.strength}: {r.one_leak.value:.0%}" for r in power.recalls if r.kind == kind]
        table.add_row(kind, "  ".join(steps))
    return table


def print_demo(outcome: DemoOutcome) -> None:
    """The summary of the audit, and the findings against the planted leaks."""
    print_result(outcome.result, outcome.run)
    console = open_console()
    console.print()
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("planted in the synthetic dataset")
    table.add_column("people", justify="right")
    table.add_column("found", justify="right")
    for kind, (found, planted) in outcome.found.items():
        table.add_row(kind, str(planted), str(found))
    people = outcome.result.counts["training"].people
    table.add_row("nothing", str(people - len(outcome.world.planted)), f"{outcome.false_findings} falsely")
    allowed = outcome.result.manifest["settings"]["fdr"] * len(outcome.result.significant_people)
    console.print(table)
    console.print()
    console.print(f"The false discovery rate allows about {allowed:.0f} false findings.", markup=False)
    if only_default_model(outcome.result.models):
        console.print(
            "New images in the demo keep light and pose, which the appearance channel detects. In other light and pose "
            "the default model detects few new images of a person. Use an ArcFace model with --model, for example "
            "w600k_r50 of InsightFace (non-commercial research only) or mobilefacenet_foamliu (Apache-2.0).",
            markup=False,
        )


def print_study(rows: Sequence[SetRow], out: Path) -> None:
    """A row for each dataset, and the path of the page."""
    console = open_console()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("dataset", "verdict", "exposed", "AUC", "TPR at 1% FPR"):
        table.add_column(name, justify="left" if name in ("dataset", "verdict") else "right", overflow="fold")
    for row in rows:
        if row.state != "audited":
            table.add_row(Text(row.title), Text(row.state, "yellow"))
            continue
        exposed = "" if row.exposed is None else f"{row.exposed.value:.0f} of {row.exposed.n:,}"
        auc = "" if row.auc is None else f"{row.auc.value:.2f} ({row.auc.low:.2f} to {row.auc.high:.2f})"
        tpr = row.tpr_at_1_percent
        found = "" if tpr is None else f"{tpr.value:.1%} ({tpr.low:.1%} to {tpr.high:.1%})"
        style = STYLE.get(row.verdict or "", "bold yellow")
        table.add_row(Text(row.title), Text(row.verdict or "", style), exposed, auc, found)
    console.print()
    console.print(table)
    console.print()
    for row in rows:
        if row.state != "audited":
            console.print(f"{row.title}: {row.headline}", markup=False)
    console.print(f"Page: {out / 'study.html'}", markup=False)
    console.print(f"Table: {out / 'study.csv'}", markup=False)


def print_info() -> None:
    """Versions, machine, backends and devices."""
    from unveil.compare import describe
    from unveil.faces.onnx_model import describe_devices

    console = open_console()
    console.print(f"unveil {__version__}, Python {platform.python_version()}, {platform.platform()}", markup=False)
    console.print(f"{processor()}, {cores()} cores for this process", markup=False)
    console.print()
    console.print("Backends (--backend). All give the same result.")
    for name, text in describe():
        console.print(f"{name:<12} {text}", markup=False)
    console.print()
    console.print("Devices on which models run (--device)")
    for device, text in describe_devices():
        console.print(f"{device:<12} {text}", markup=False)


def print_cleaning(done: Cleaning, folder: Path, copied: Path | None) -> None:
    """Removed images, the audits before and after, limitations, and the paths of the results."""
    console = open_console()
    n = len(done.removed)
    console.print()
    identities = (
        f" They belong to {done.identities_touched:,} of {done.n_identities:,} identities; {done.identities_gone:,} "
        "identities are removed completely."
    )
    expected = done.before.expected_false_people
    console.print(
        f"{n:,} of {done.n_images:,} synthetic images must be removed ({n / done.n_images:.1%})."
        + ("" if done.before.counts["synthetic"].unlabelled else identities),
        markup=False,
    )
    if expected is not None and round(expected):
        console.print(
            f"About {expected:.0f} of the {len(done.before.significant_people):,} significant people are expected to "
            "be false. Nothing tells which, so images of these are removed too."
        )
    units = "identities" if done.whole_identities else "images"
    console.print(
        f"No smaller set of {units} would do at the thresholds below. Other thresholds (--threshold) give other sets.",
        markup=False,
    )
    for i, one in enumerate(done.rounds, 1):
        console.print(
            f"Round {i}: {one.n_at_threshold:,} at or above {one.threshold.score:.3f}: {one.threshold.why}.",
            markup=False,
        )
    console.print()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", "verdict", "significant people", "significant identities", "global p"):
        table.add_column(name, justify="right" if name.startswith(("significant", "global")) else "left")
    for name, result in (("before", done.before), ("after", done.after)):
        p = "" if result.global_test is None else number(result.global_test.p_value)
        significant = (
            str(len(result.significant_people)),
            str(sum(i.significant for i in result.synthetic_identities)),
        )
        table.add_row(name, Text(result.verdict, STYLE.get(result.verdict, "bold yellow")), *significant, p)
    console.print(table)
    console.print()
    console.print("Limitations", style="dim")
    for limitation in done.limitations:
        console.print(f"- {limitation}", markup=False)
    console.print()
    console.print(f"Removed: {folder / 'removed.txt'}; remaining: {folder / 'remaining.txt'}", markup=False)
    console.print(f"Report of the rest: {done.rounds[-1].run / 'report.html'}", markup=False)
    if copied is not None:
        console.print(f"Dataset without them: {copied} (verified byte for byte against the original)", markup=False)
        console.print(COPIED_UNREAD)


def _significance(match: LookupMatch, search: Search, result: AuditResult) -> str:
    """Whom the audit found significant with an image that is close to a photograph."""
    if search.role == "training":
        return "yes" if any(p.person == match.person for p in result.significant_people) else ""
    return printable(next((p.person for p in result.significant_people if p.synthetic_id == match.id), ""))


def _beside_control(compared: Comparison | None) -> str:
    if compared is None:
        return "no control set, so no p-value"
    tests = f" in {compared.n_groups:,} tests" if compared.n_groups > 1 else ""
    return f"p {number(compared.p)}{tests} against {compared.n_people:,} people, {compared.n_as_close:,} as close"


# Below a search: why its scores are not those of the audit.
OTHER_SCORES = (
    "The audit can score the same pair higher: its hub correction leaves out the person's own images. A search does "
    "not know who is asking. In a photograph that is no file of a set it finds the face anew, where the audit may have "
    "read crops as they are."
)


def print_lookup(answer: Answer, names: Sequence[str], result: AuditResult, text: str) -> None:
    """The closest images for the auditor, and the answer for the person who asked."""
    from unveil.mitigation.person_lookup import audited_person

    console = open_console()
    for i, why in answer.unusable:
        console.print(f"{names[i]}: not used, {why}", markup=False)
    for search in (answer.synthetic, answer.training):
        console.print()
        console.print(f"{search.role} set: {search.answer} ({_beside_control(search.compared)})", markup=False)
        found = {
            "photograph": [names[m.photo] for m in search.matches],
            "image": [m.id for m in search.matches],
            "person": [m.person for m in search.matches],
            **{channel: [f"{m.scores[channel]:.2f}" for m in search.matches] for channel in result.channels},
            "exposes" if search.role == "synthetic" else "significant": [
                _significance(m, search, result) for m in search.matches
            ],
        }
        # What is the same in every row says nothing.
        if len(names) == 1:
            del found["photograph"]
        if all(m.person == m.id for m in search.matches):
            del found["person"]
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in found:
            table.add_column(name, justify="right" if name in result.channels else "left", overflow="fold")
        for row in zip(*found.values(), strict=True):
            table.add_row(*(Text(text) for text in row))
        console.print(table)
    console.print()
    audited = audited_person(answer, result)
    if audited is not None:
        person = f"{printable(audited.finding.person)}, whom the audit found significant"
        console.print(f"The photographs lead to {person} (by a {audited.by}).", markup=False)
    lowest = min((p.score for p in result.significant_people), default=None)
    found_from = "" if lowest is None else f"; significant people of the audit score at least {lowest:.2f}"
    console.print(f"Scores by channel: 0 is the median of real people{found_from}.", style="dim", highlight=False)
    console.print(OTHER_SCORES, style="dim", highlight=False)
    console.print()
    console.print("For the person who asked", style="dim")
    console.print()
    console.print(text.rstrip(), markup=False)
