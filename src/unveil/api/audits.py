"""`unveil.audit`, and the result with what a Python program does with it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from html import escape
from pathlib import Path
from typing import Any, Unpack

from unveil.api.data import Data, place_of
from unveil.api.keywords import AuditKeywords
from unveil.api.plots import Plots
from unveil.api.records import Records, with_records
from unveil.api.roc import ROC, roc_of
from unveil.api.score_files import Columns, write_score_file
from unveil.auditor import run_audit
from unveil.config.parsing import settings_from
from unveil.config.paths import check_places
from unveil.config.settings import Settings
from unveil.engine import LOCAL
from unveil.errors import SettingError, UnveilError
from unveil.images import write_without
from unveil.io.atomic import write_bytes
from unveil.io.output_file import HTML_PAGE, OutputKind, beginning_with, check_output_file
from unveil.mitigation import Cleaning, Guard, clean
from unveil.planning.fixing import fix_protocol
from unveil.planning.protocol import under_protocol
from unveil.planning.protocol import write_protocol as write
from unveil.progress import Progress, Silent
from unveil.report import GALLERIES, write_report
from unveil.report.text import q_in_words
from unveil.report.units import IMAGES, unit_of
from unveil.results import (
    AuditResult,
    Baselines,
    Exposures,
    HubnessFinding,
    IdentityFinding,
    ImageCopy,
    Membership,
    PairFinding,
    PersonFinding,
    VerificationPerformance,
)
from unveil.runs.finished import FinishedRun
from unveil.stats.checks import Check
from unveil.types import ROLES, Role

ROC_HEAD = "threshold,fpr,tpr,fnr\n"
ROC_FILE = OutputKind("a ROC", beginning_with(ROC_HEAD))


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Audit(AuditResult):
    """A result and what can be done with it: a summary, data frames, plots, a report and score files.

    Lists of records, such as ``people`` and ``top_pairs``, make data frames with ``.to_frame()``. ``run`` is the folder
    of the audit.
    """

    run: Path = field(compare=False)
    people: Records[PersonFinding]
    copies: Records[ImageCopy]
    synthetic_identities: Records[IdentityFinding]
    top_pairs: Records[PairFinding]
    top_pairs_corrected: Records[PairFinding]
    hubness: Records[HubnessFinding]
    membership: Records[Membership] | None
    baselines: Records[Baselines]
    verification: Records[VerificationPerformance]
    input_checks: Records[Check]

    @classmethod
    def of(cls, result: AuditResult, run: Path) -> Audit:
        """The result of the audit in the folder ``run``."""
        return cls(run=run, **with_records(result, AuditResult))

    @property
    def result(self) -> AuditResult:
        """The result alone, as `audit.json` holds it."""
        return AuditResult(**{one.name: getattr(self, one.name) for one in fields(AuditResult)})

    @property
    def significant_people(self) -> Records[PersonFinding]:
        """Training people who are significant by any test, the most exposed first."""
        return Records(super().significant_people, PersonFinding)

    @property
    def plot(self) -> Plots:
        """Plots: ``plot.scores()``, ``plot.roc()``, ``plot.det()`` and ``plot.power()``. They need matplotlib."""
        return Plots(self)

    def summary(self) -> str:
        """The verdict, the number of people and images, and the most exposed people, in a few lines."""
        lines = [self.verdict.upper(), self.headline, ""]
        for role in ROLES:
            if role in self.counts:
                n = self.counts[role]
                rejected = f", {n.rejected:,} rejected" if n.rejected else ""
                people = ", no labels of people" if unit_of(self.counts, role) is IMAGES else f", {n.people:,} people"
                lines.append(f"{role:<10} {n.embedded:>9,} images{people}{rejected}")
        for person in self.significant_people[:3]:
            q = f", q {q_in_words(person)}" if person.lowest_q is not None else ""
            lines.append(f"exposed    {person.person}: {person.synthetic_id} (score {person.score:.2f}{q})")
        more = len(self.significant_people) - 3
        if more > 0:
            lines.append(f"           and {more:,} more in .significant_people")
        return "\n".join([*lines, "", f"run        {self.run}"])

    def tested_people(self) -> Exposures:
        """The exposures of the training and control people behind the tests.

        Raises SettingError if the audit had no control set.
        """
        if self.exposures is None:
            raise SettingError(
                f"the audit in {self.run} had no control people to compare with; audit with control=PATH"
            )
        return self.exposures

    def roc(self) -> ROC:
        """The ROC of the scores of training people against those of control people.

        Raises SettingError if the audit had no control set.
        """
        exposures = self.tested_people()
        return roc_of(exposures.training.score, exposures.control.score)

    def write_scores(self, path: str | Path, columns: Columns = 4) -> Path:
        """Writes the scores of all tested people as a text file for biometric tools; see `write_score_file`.

        ``columns`` is 4 or 5. Returns the path. Raises SettingError if the audit had no control set, for another
        number of columns, and for a path among the images.
        """
        if columns not in (4, 5):
            raise SettingError(f"columns: expected 4 or 5, found {columns!r}")
        exposures = self.tested_people()
        self._check_outside(path)
        write_score_file(exposures, Path(path), columns)
        return Path(path)

    def write_roc(self, path: str | Path) -> Path:
        """Writes the ROC as CSV with the columns threshold, fpr, tpr and fnr, for ROC and DET plots. Returns the path.

        Raises SettingError if the audit had no control set, and for a path with another file or among the images.
        """
        curve = self.roc()
        self._check_outside(path)
        rows = zip(curve.threshold, curve.fpr, curve.tpr, curve.fnr, strict=True)
        check_output_file("path", path, ROC_FILE)
        text = ROC_HEAD + "".join(",".join(repr(float(v)) for v in row) + "\n" for row in rows)
        write_bytes(Path(path), text.encode())
        return Path(path)

    def _check_outside(self, path: str | Path) -> None:
        """Raises SettingError for a path in a folder of the images. A run that is gone knows of none."""
        try:
            run = FinishedRun(self.run)
        except UnveilError:
            return
        run.check_outside("path", Path(path))

    def report(self, path: str | Path, *, redact: bool = False) -> Path:
        """Writes the report as one HTML file, with pages of further pairs beside it where there are many.

        Faces are read from their places. With ``redact`` it names nobody and shows no face. Returns the path. Raises
        SettingError for a path with another file or among the images.
        """
        run = FinishedRun(self.run)
        run.check_outside("path", Path(path))
        for file in (Path(path), *Path(path).parent.glob(GALLERIES)):
            check_output_file("path", file, HTML_PAGE)
        write_report(self.result, Path(path), {} if redact else run.sources(), redact=redact, own=run.own)
        return Path(path)

    def clean(
        self,
        out: str | Path | None = None,
        *,
        threshold: str = "significant",
        whole_identities: bool = False,
        overwrite: bool = False,
        trust_store: bool = False,
        copy: str | Path | None = None,
        engine: str = LOCAL,
        progress: Progress | None = None,
    ) -> Cleaning:
        """Finds the smallest part of the synthetic set that must be removed, and audits the rest.

        ``out`` is the folder of the lists and the new audit, by default ``clean`` in the run. ``threshold`` is
        `significant`, `control`, `fpr:RATE` or a score. ``whole_identities`` removes every image of a synthetic
        identity if one reaches the threshold. ``overwrite`` replaces a cleaning with other settings in the folder.
        ``trust_store`` is that of `unveil.audit`. ``copy`` is a folder for the cleaned set in its own container; that
        of arrays is Parquet. ``engine`` is where the new audit runs, as for `unveil.audit`. The set is not changed.
        Raises InputError if there is nothing to clean from, and StoreError for a run that was damaged.
        """
        folder = self.run / "clean" if out is None else Path(out)
        run = FinishedRun(self.run)
        cleaned = clean(
            *(run, folder),
            threshold=threshold,
            whole_identities=whole_identities,
            overwrite=overwrite,
            trust_store=trust_store,
            engine=engine,
            progress=progress,
        )
        if copy is not None:
            write_without(run.source("synthetic"), Path(copy), cleaned.left_out)
        return cleaned

    def build_guard(
        self, out: str | Path, *, threshold: str = "audit", names: bool = False, engine: str = LOCAL
    ) -> Guard:
        """Builds a guard in the folder ``out`` and opens it: it checks images while they are generated.

        ``threshold`` is `audit` (the audit would find one more person significant) or as for `clean`. With ``names``
        decisions name training images. ``engine`` is where the training images are decoded. Raises SettingError for a
        threshold that this audit does not have.
        """
        Guard.build(FinishedRun(self.run), Path(out), threshold=threshold, names=names, engine=engine)
        return Guard.open(out)

    def __eq__(self, other: object) -> bool:
        return bool(self.result == (other.result if isinstance(other, Audit) else other))

    __hash__ = None  # type: ignore[assignment]  # like every result

    def __repr__(self) -> str:
        n, people = len(self.significant_people), self.counts["training"].people
        what = unit_of(self.counts).many
        return f"<unveil.Audit: {self.verdict}; {n:,} of {people:,} training {what} significant; run in {self.run}>"

    def _repr_html_(self) -> str:
        head = f"<p><strong>{escape(self.verdict)}</strong><br>{escape(self.headline)}</p>"
        people = self.significant_people or self.people
        return head + people[:5]._repr_html_() + f"<p>Run: <code>{escape(str(self.run))}</code></p>"


def audit(
    synthetic: Data,
    training: Data,
    control: Data | None = None,
    *,
    out: str | Path,
    progress: Progress | None = None,
    redact: bool = False,
    verify: bool = False,
    overwrite: bool = False,
    **settings: Unpack[AuditKeywords],
) -> Audit:
    """Audits the images in ``synthetic`` for people in ``training``, calibrated on people in ``control``.

    Each is a path, an array of images (N, H, W, 3) of uint8, an array of embeddings (N, D) of floats, `unveil.Images`,
    `unveil.Embeddings`, a `datasets.Dataset` of Hugging Face, or a data frame of pandas, polars or Arrow. A data frame
    has a column of embeddings or of encoded images, and may have the columns ``label`` (the person) and ``id``. Further
    keywords are the settings of `unveil audit` with underscores, such as ``fdr=0.01`` and ``planted_leaks="quick"``.

    Writes a run directory to ``out`` and returns the result. An audit that was killed resumes when it is run again. A
    finished one answers at once if its inputs have not changed; ``verify`` reads all files to see that. ``overwrite``
    replaces an audit with other settings. ``redact`` also writes a report without faces and names. Raises InputError
    for input that cannot be used.
    """
    parsed = _settings(under_protocol({"out": out, **settings}), synthetic, training, control)
    return Audit.of(
        run_audit(parsed, progress or Silent(), redact=redact, verify=verify, overwrite=overwrite), parsed.out
    )


def write_protocol(
    path: str | Path,
    synthetic: Data,
    training: Data,
    control: Data | None = None,
    **settings: Unpack[AuditKeywords],
) -> str:
    """Writes what is decided before an audit to a new file, and returns its SHA-256.

    It fixes inputs, models, thresholds and statements; nothing is embedded or compared. ``audit(..., protocol=path)``
    runs under it. Sets and settings are as for `audit`; arrays are stored beside ``path`` unless ``store`` is given.
    Raises SettingError if the file exists, and InputError for input that cannot be used.
    """
    values = {**settings, "out": Path(path).parent / "run", "protocol": None, "deviate": None}
    return write(fix_protocol(_settings(values, synthetic, training, control)), Path(path)).sha256


def _settings(values: dict[str, Any], synthetic: Data, training: Data, control: Data | None) -> Settings:
    """The settings of an audit of these sets; arrays among them are written to the store."""
    given: dict[Role, Any] = {"synthetic": synthetic, "training": training, "control": control}
    # The store decides where arrays are written, so settings are read before there is a path for each set.
    settled = settings_from({**values, **dict.fromkeys(given, ".")})
    check_places(settled.out, settled.store_place, {})
    for role, data in given.items():
        if data is not None:
            values = {**values, role: place_of(data, role, settled.store_place)}
    return settings_from(values)
