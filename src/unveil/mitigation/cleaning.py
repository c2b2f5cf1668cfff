"""The smallest part of a synthetic set whose removal leaves nothing at or above a line, and the audit of the rest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unveil.auditor import run_audit
from unveil.config.parsing import settings_from
from unveil.errors import SettingError
from unveil.io.atomic import write_bytes
from unveil.io.remote import is_address
from unveil.mitigation.threshold import MitigationThreshold, mitigation_threshold
from unveil.progress import Progress, Silent
from unveil.results import AuditResult, plain
from unveil.runs.finished import FinishedRun
from unveil.types import Embedded

# A re-audit whose findings are chance lists somebody in one of twenty cases; so many in a row are none.
MAX_ROUNDS = 6
REMOVED, REMAINING, SUMMARY = "removed.txt", "kept.txt", "clean.json"


@dataclass(frozen=True)
class Round:
    """One removal: the line, how many pictures were at or above it, and what the audit of the rest says."""

    line: MitigationThreshold
    n_at_line: int
    after: AuditResult
    run: Path


@dataclass(frozen=True)
class Cleaning:
    """What was removed (ids in the order of the set), of how many pictures, how many identities lost a picture and how
    many all of theirs, and the rounds, the last of which says what is left."""

    before: AuditResult
    removed: tuple[str, ...]
    n_images: int
    n_identities: int
    identities_touched: int
    identities_gone: int
    rounds: tuple[Round, ...]

    @property
    def after(self) -> AuditResult:
        """The audit of what is left."""
        return self.rounds[-1].after

    @property
    def promises(self) -> tuple[str, ...]:
        """What removing cannot do, in words."""
        rejected = self.before.counts["synthetic"].rejected
        said = [
            "What the audit would have missed is still in the set.",
            "What was published before stays published, and the generator still knows its training people.",
            "Removing changes what is left: people of the kind that was removed become fewer.",
        ]
        if rejected:
            said.append(f"{rejected} synthetic files gave no face and were not compared; they were kept.")
        if self.after.verdict == "leak found":
            said.append(
                "The audit of the rest still finds a leak: "
                + (
                    "in the ranks as a whole, not of people it could name"
                    if not _lists(self.after)
                    else "see its report"
                )
                + ". A lower line (--line fpr:0.01) removes more."
            )
        return tuple(said)


def at_or_above(
    scores: npt.NDArray[np.float64], identities: Sequence[str], line: float, *, whole: bool
) -> npt.NDArray[np.bool_]:
    """Which pictures (N,) have to go so that none is left that scores ``line`` or more: those that do, or the ``whole``
    identities that hold one.

    It is the smallest such set: each of them has to go by itself, and no other has to. Pictures are taken out of the
    synthetic side alone, so removing one never lowers another's score.
    """
    over = np.asarray(scores >= line, np.bool_)
    if not whole:
        return over
    gone = {identity for identity, high in zip(identities, over, strict=True) if high}
    return np.array([identity in gone for identity in identities], np.bool_)


def clean(
    run: FinishedRun,
    out: Path,
    *,
    line: str = "listed",
    whole_identities: bool = False,
    progress: Progress | None = None,
) -> Cleaning:
    """Finds what has to go, writes the lists to ``out`` and audits the rest there.

    With the line ``listed`` this is done again while the audit of the rest lists anybody, at most MOST_ROUNDS times.
    Raises SettingError where there is nothing to remove or nothing would be left.
    """
    first = mitigation_threshold(run.result, line)
    if out.exists() and any(out.iterdir()) and not (out / REMOVED).exists():
        raise SettingError(f"{out} is not empty and holds no earlier cleaning; name another folder with -o")
    everything = run.embedded("synthetic")
    order = [record.id for record in run.source("synthetic").records]
    removed: set[str] = set()
    rounds: list[Round] = []
    now, at = run, first
    while True:
        gone = _must_be_removed(now, everything, removed, at.score, whole_identities)
        if not gone and not rounds:
            raise SettingError(
                f"no synthetic picture reaches the line of {at.score:.3f} ({at.why}); there is nothing to remove"
            )
        if not gone:
            break
        removed |= gone
        if len(removed) == len(everything):
            raise SettingError(
                f"every synthetic picture reaches the line of {at.score:.3f} ({at.why}); nothing would be left"
            )
        after, where = _audit_rest(
            run, out, len(rounds) + 1, [id for id in order if id in removed], progress or Silent()
        )
        rounds.append(Round(at, len(gone), after, where))
        if line != "listed" or not _lists(after) or len(rounds) == MAX_ROUNDS:
            break
        now, at = FinishedRun(where), mitigation_threshold(after)
    done = _cleaning(run, everything, [id for id in order if id in removed], rounds)
    _write_list(out / REMAINING, (id for id in order if id not in removed))
    _write_list(out / REMOVED, done.removed)
    write_bytes(out / SUMMARY, (json.dumps(_summary(done), indent=1, ensure_ascii=False) + "\n").encode())
    return done


def _lists(result: AuditResult) -> bool:
    return bool(result.significant_people) or any(i.significant for i in result.synthetic_identities)


def _must_be_removed(now: FinishedRun, everything: Embedded, removed: set[str], line: float, whole: bool) -> set[str]:
    """Ids at or above the line, with those that are byte for byte the same."""
    digest_of = dict(zip(everything.ids, everything.digests, strict=True))
    score_of = {digest_of[p.id]: p.score for p in now.images}
    scores = np.array([score_of.get(digest, -np.inf) for digest in everything.digests])
    over = at_or_above(scores, everything.people_or_ids, line, whole=whole)
    return {id for id, high in zip(everything.ids, over, strict=True) if high} - removed


def _audit_rest(
    run: FinishedRun, out: Path, n: int, removed: Sequence[str], progress: Progress
) -> tuple[AuditResult, Path]:
    """The audit of what is left, in a run of its own; embeddings are those that were made before."""
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    list_file, where = out / f"removed-{n}.txt", out / f"after-{n}"
    _write_list(list_file, removed)
    settings = settings_from(
        {
            **run.settings.facts(),
            **{role: run.place(role) for role in run.roles},
            "out": where,
            "store": run.store if is_address(run.store) or Path(run.store).is_dir() else None,
            "exclude": list_file,
        }
    )
    return run_audit(settings, progress), where


def _cleaning(run: FinishedRun, everything: Embedded, removed: list[str], rounds: Sequence[Round]) -> Cleaning:
    gone = set(removed)
    touched = {person for id, person in zip(everything.ids, everything.people_or_ids, strict=True) if id in gone}
    left = {person for id, person in zip(everything.ids, everything.people_or_ids, strict=True) if id not in gone}
    return Cleaning(
        run.result,
        tuple(removed),
        len(everything),
        len(touched | left),
        len(touched),
        len(touched - left),
        tuple(rounds),
    )


def _write_list(path: Path, ids: Iterable[str]) -> None:
    write_bytes(path, "".join(f"{id}\n" for id in ids).encode())


def _summary(done: Cleaning) -> dict[str, object]:
    summary: dict[str, object] = plain(
        {
            "n_images": done.n_images,
            "n_removed": len(done.removed),
            "n_identities": done.n_identities,
            "identities_touched": done.identities_touched,
            "identities_gone": done.identities_gone,
            "before": _statement(done.before),
            "rounds": [
                {**asdict(r.line), "n_at_line": r.n_at_line, "run": r.run.name, "after": _statement(r.after)}
                for r in done.rounds
            ],
            "cannot_promise": list(done.promises),
        }
    )
    return summary


def _statement(result: AuditResult) -> dict[str, object]:
    return {
        "verdict": result.verdict,
        "headline": result.headline,
        "people_significant": len(result.significant_people),
        "identities_significant": sum(i.significant for i in result.synthetic_identities),
        "global_p": None if result.global_test is None else result.global_test.p_value,
    }
