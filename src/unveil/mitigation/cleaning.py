"""Removes the fewest synthetic images that leave none at or above a threshold, and audits the rest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unveil.auditor import run_audit
from unveil.choices import LEAK
from unveil.config.parsing import settings_from
from unveil.engine import LOCAL, EngineOpener, shared_engine
from unveil.errors import ImageError, SettingError, SourceError
from unveil.io.atomic import remove_stale_temp, write_bytes
from unveil.io.documents import read_json
from unveil.io.folders import exclusive, other_file, unchanged
from unveil.io.private import make_private
from unveil.io.regular import read_regular
from unveil.io.run_directory import other_files, remove_run
from unveil.io.text import printable
from unveil.mitigation.threshold import MitigationThreshold, mitigation_threshold
from unveil.progress import Progress, Silent
from unveil.results import AuditResult, plain
from unveil.runs.finished import FinishedRun
from unveil.types import Embedded

# At FDR 5% the audit of a clean set has a finding in 5% of cases. Six such findings in a row are not chance.
MAX_ROUNDS = 6
REMOVED, REMAINING, SUMMARY = "removed.txt", "remaining.txt", "clean.json"
# A larger summary is none.
MAX_SUMMARY_BYTES = 2**24
# The files that a cleaning writes; with the audits of the rest, that is all. The summary is removed last, so that a
# killed process leaves a cleaning.
FILES = (REMOVED, REMAINING, "removed-*.txt", SUMMARY)
OWN = (*FILES, "after-*")


@dataclass(frozen=True)
class Round:
    """One removal: the threshold, the number of images at or above it, and the audit of the remaining images."""

    threshold: MitigationThreshold
    n_at_threshold: int
    after: AuditResult
    run: Path


@dataclass(frozen=True)
class Cleaning:
    """The removed ids in the order of the set, the images and identities affected, and the rounds of removal.

    ``excluded`` are the ids that the audit had left out already. They are left out of the copy and the new audit too.
    ``threshold`` is as it was asked for. ``whole_identities`` is true if every image of an identity is removed with one
    that reaches the threshold.
    """

    before: AuditResult
    removed: tuple[str, ...]
    n_images: int
    n_identities: int
    identities_touched: int
    identities_gone: int
    rounds: tuple[Round, ...]
    excluded: tuple[str, ...] = ()
    threshold: str = "significant"
    whole_identities: bool = False

    @property
    def left_out(self) -> frozenset[str]:
        """The ids that a copy of the cleaned set does not hold."""
        return frozenset((*self.excluded, *self.removed))

    @property
    def after(self) -> AuditResult:
        """The audit of the remaining images."""
        return self.rounds[-1].after

    @property
    def limitations(self) -> tuple[str, ...]:
        """What removing images cannot do, as sentences."""
        rejected = len({reject.id for reject in self.before.rejects["synthetic"]}.difference(self.removed))
        sentences = [
            "Leaks that the audit would have missed are still in the set.",
            "Published copies of the set and the generator itself are not changed.",
            "Removal changes the set: people who look like the removed ones become rarer.",
        ]
        if rejected:
            sentences.append(
                f"{rejected} synthetic files were rejected, so they were not compared and stay in the set."
            )
        if "label link" in self.after.evidence:
            sentences.append(
                "Labels of the remaining images still correspond to training classes (label link). Removing images "
                "does not change that: permute the labels before you publish the set."
            )
        if self.after.verdict in LEAK and self.after.evidence != ("label link",):
            sentences.append(
                "The audit of the remaining images still finds a leak: "
                + (
                    "the global test is significant, but no single person is"
                    if not _has_findings(self.after)
                    else "see its report"
                )
                + ". A lower threshold (--threshold fpr:0.01) removes more."
            )
        return tuple(sentences)


def at_or_above(
    scores: npt.NDArray[np.float64], identities: Sequence[str], threshold: float, *, whole: bool
) -> npt.NDArray[np.bool_]:
    """Which images (N,) must be removed so that none with a score of at least ``threshold`` is left.

    With ``whole``, every image of an identity goes when one of its images reaches the threshold. The set is the
    smallest possible: scores of synthetic images do not depend on each other, so no other image must go.
    """
    over = np.asarray(scores >= threshold, np.bool_)
    if not whole:
        return over
    gone = {identity for identity, high in zip(identities, over, strict=True) if high}
    return np.array([identity in gone for identity in identities], np.bool_)


def clean(
    run: FinishedRun,
    out: Path,
    *,
    threshold: str = "significant",
    whole_identities: bool = False,
    overwrite: bool = False,
    trust_store: bool = False,
    engine: str = LOCAL,
    progress: Progress | None = None,
) -> Cleaning:
    """Finds the images to remove, writes the lists to ``out`` and audits the remaining images there.

    With the threshold ``significant`` this repeats while the re-audit has findings, at most MAX_ROUNDS times.
    ``overwrite`` replaces a finished cleaning with other settings. With ``trust_store``, embeddings in the store count
    whoever made them. ``engine`` is where the audits of the rest run; the run that is cleaned does not decide it.
    Raises SourceError if an image to remove has changed since the audit, and ModelError if a model has: the audit of
    the rest would be by another. Raises SettingError if there is nothing to
    remove or nothing would be left, for a folder with such a cleaning or of images, if the places of a run that
    somebody else made are not named, and if another process works in the run or in ``out``.
    """
    _check_places(run)
    run.check_outside("-o", out)
    first = mitigation_threshold(run.result, threshold)
    other = other_file(out, OWN) or _list_of_others(out)
    if other is not None:
        raise SettingError(
            f"-o: expected a new folder or an earlier cleaning, found {other} in {out}. Name another folder"
        )
    with unchanged(run.path), exclusive(out):
        remove_stale_temp(out, of=OWN)
        _make_room(out, {"threshold": threshold, "whole_identities": whole_identities}, overwrite=overwrite)
        progress = progress or Silent()
        with shared_engine(engine, progress) as opener:
            return _clean(
                *(run, out, first, threshold, whole_identities),
                trust_store=trust_store,
                progress=progress,
                engine=opener,
            )


def _list_of_others(out: Path) -> str | None:
    """The name of a list in a folder that is no cleaning: lists are written after the audit of the rest was begun."""
    if (out / SUMMARY).exists() or any(out.glob("after-*")):
        return None
    return next((name for name in (REMOVED, REMAINING) if (out / name).exists()), None)


def _make_room(out: Path, settings: dict[str, object], *, overwrite: bool) -> None:
    """Removes a finished cleaning with other settings, if it may be replaced."""
    try:
        before = read_json(read_regular(out / SUMMARY, MAX_SUMMARY_BYTES))["settings"]
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError, KeyError, IndexError):
        before = None
    if before == settings:
        return
    if not overwrite:
        shown = "other settings" if not isinstance(before, dict) else f"threshold {before.get('threshold')}"
        if isinstance(before, dict) and before.get("whole_identities"):
            shown += " and whole identities"
        raise SettingError(
            f"-o: expected a new folder or the same cleaning, found one with {printable(shown)} in {out}. Name another "
            "folder with -o, or add --overwrite to replace that cleaning"
        )
    folders = sorted(out.glob("after-*"))
    others = [f"{folder.name}/{name}" for folder in folders for name in other_files(folder)]
    if others:
        raise SettingError(
            f"--overwrite: expected nothing but a cleaning in {out}, found {others[0]}. Move it away, or name another "
            "folder with -o"
        )
    for folder in folders:
        remove_run(folder)
        folder.rmdir()
    for pattern in FILES:
        for file in out.glob(pattern):
            file.unlink()


def _clean(
    run: FinishedRun,
    out: Path,
    first: MitigationThreshold,
    threshold: str,
    whole_identities: bool,
    *,
    trust_store: bool,
    progress: Progress,
    engine: EngineOpener,
) -> Cleaning:
    everything = run.embedded("synthetic")
    audited_ids = {*everything.ids, *(reject.id for reject in run.result.rejects["synthetic"])}
    listed = [record.id for record in run.source("synthetic").records]
    excluded = tuple(id for id in listed if id not in audited_ids)
    order = [id for id in listed if id in audited_ids]
    removed: set[str] = set()
    rounds: list[Round] = []
    audited, current = run, first
    while True:
        gone = _must_be_removed(audited, everything, removed, current.score, whole_identities)
        if not gone and not rounds:
            raise SettingError(
                f"--threshold: expected images at or above {current.score:.3f} ({current.why}), found none. There is "
                "nothing to remove"
            )
        if not gone:
            break
        _check_unchanged(run, gone)
        if not rounds:
            run.check_models(progress)
        removed |= gone
        if removed.issuperset(everything.ids):
            raise SettingError(
                f"--threshold: expected images below {current.score:.3f} ({current.why}), found none, so nothing would "
                "be left. Use a higher threshold"
            )
        after, where = _audit_rest(
            *(run, out, len(rounds) + 1, [*excluded, *(id for id in order if id in removed)]),
            trust_store=trust_store,
            progress=progress,
            engine=engine,
        )
        rounds.append(Round(current, len(gone), after, where))
        if threshold != "significant" or not _has_findings(after) or len(rounds) == MAX_ROUNDS:
            break
        audited, current = FinishedRun(where), mitigation_threshold(after)
    done = _cleaning(run, everything, [id for id in order if id in removed], rounds)
    done = replace(done, excluded=excluded, threshold=threshold, whole_identities=whole_identities)
    _write_list(out / REMAINING, (id for id in order if id not in removed))
    _write_list(out / REMOVED, (*excluded, *done.removed))
    write_bytes(out / SUMMARY, (json.dumps(_summary(done), indent=1, ensure_ascii=False) + "\n").encode())
    return done


def _check_places(run: FinishedRun) -> None:
    """Raises SettingError if the images or the store of a run that somebody else made are not named."""
    for role in run.roles:
        run.place(role)
        run.source_spec(role)
    if not run.own and not run.store:
        raise SettingError(
            "--store: expected a folder or address for embeddings, found none. This user did not make the run, so the "
            "store in it is not used: name one"
        )
    for name in ("strata", "label_map"):
        if run.own or not run.result.manifest["settings"].get(name):
            continue
        raise SettingError(
            f"{name}: expected an audit that reads no further file, found one. This user did not make the run, so the "
            "files in it are not read: audit the images again"
        )


def _check_unchanged(run: FinishedRun, ids: set[str]) -> None:
    """Raises SourceError if one of these synthetic images is another than the audit measured."""
    images = run.unchanged("synthetic")
    records = images.records.with_ids(ids)
    for id in sorted(ids):
        try:
            if id not in records:
                raise ImageError("read", "no longer there")
            images.check(records[id])
        except ImageError as error:
            raise SourceError(
                f"{images.where}: expected the synthetic images of the audit, found another set, in which {id} is "
                f"{error.reason}. Audit the set as it is now"
            ) from None


def _has_findings(result: AuditResult) -> bool:
    return bool(result.significant_people) or any(i.significant for i in result.synthetic_identities)


def _must_be_removed(
    audited: FinishedRun, everything: Embedded, removed: set[str], threshold: float, whole: bool
) -> set[str]:
    """The ids at or above the threshold, with duplicates of the same file."""
    digest_of = dict(zip(everything.ids, everything.digests, strict=True))
    score_of = {digest_of[p.id]: p.score for p in audited.images}
    scores = np.array([score_of.get(digest, -np.inf) for digest in everything.digests])
    # A copy must go whatever its score is.
    copies = {copy.synthetic_id for copy in audited.result.copies}
    copied = {digest_of[id] for id in copies if id in digest_of}
    scores[np.array([digest in copied for digest in everything.digests], np.bool_)] = np.inf
    over = at_or_above(scores, everything.people_or_ids, threshold, whole=whole)
    # A file that was rejected has no score, but can be a copy byte for byte.
    return ({id for id, high in zip(everything.ids, over, strict=True) if high} | copies) - removed


def _audit_rest(
    run: FinishedRun,
    out: Path,
    n: int,
    removed: Sequence[str],
    *,
    trust_store: bool,
    progress: Progress,
    engine: EngineOpener,
) -> tuple[AuditResult, Path]:
    """Audits the remaining images in a run of their own, with the embeddings of the first audit."""
    make_private(out)
    list_file, where = (out / f"removed-{n}.txt").resolve(), out / f"after-{n}"
    _write_list(list_file, removed)
    config = run.channel_config
    settings = settings_from(
        {
            **run.values,
            # Model files of somebody else's run are those of the library.
            "model": [model for model in config.models if model is not None],
            **{"detector": config.detector, "copy_model": config.copy_model},
            **{role: run.place(role) for role in run.roles},
            "out": where,
            "store": run.next_store,
            "trust_store": trust_store,
            "exclude": list_file,
            # A protocol plans one audit. That of the rest is another.
            **dict.fromkeys(("protocol", "deviate")),
        }
    )
    return run_audit(settings, progress, engine=engine), where


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
    data = "".join(f"{id}\n" for id in ids).encode()
    # A list that stays keeps its time, so that a repeated audit of the rest answers at once.
    if not (path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data):
        write_bytes(path, data)


def _summary(done: Cleaning) -> dict[str, object]:
    summary: dict[str, object] = plain(
        {
            "settings": {"threshold": done.threshold, "whole_identities": done.whole_identities},
            "n_images": done.n_images,
            "n_removed": len(done.removed),
            "n_identities": done.n_identities,
            "identities_touched": done.identities_touched,
            "identities_gone": done.identities_gone,
            "before": _statement(done.before),
            "rounds": [
                {
                    **asdict(r.threshold),
                    "n_at_threshold": r.n_at_threshold,
                    "run": r.run.name,
                    "after": _statement(r.after),
                }
                for r in done.rounds
            ],
            "limitations": list(done.limitations),
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
