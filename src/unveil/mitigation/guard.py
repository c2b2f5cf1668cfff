"""A check during generation: does this picture show somebody of the training set?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from unveil.channels import open_detector
from unveil.channels.alignment import ImageAlignment
from unveil.config.channels import channel_config
from unveil.config.parsing import settings_from
from unveil.embedding.embedder import AuditEmbedder
from unveil.errors import SettingError, StoreError, VectorError
from unveil.io.atomic import replacing, write_bytes
from unveil.mitigation.inputs import ImageArray, face_images
from unveil.mitigation.threshold import MitigationThreshold, mitigation_threshold
from unveil.progress import Progress
from unveil.results import AuditResult
from unveil.runs.finished import ChannelState, FinishedRun
from unveil.stats.intervals import share
from unveil.stats.person_tests import person_tests
from unveil.stats.power import detection_threshold, lowest_significant
from unveil.stats.score_scale import ScoreScale, max_over_channels
from unveil.stats.whitening import Whitening
from unveil.types import Estimate, Floats, Ints, Vectors

MARK, FORMAT = "unveil guard", 1
ABOUT = "guard.json"
# Rows of the training set compared at a time; half precision is widened so many at a time.
BLOCK = 16_384
# Indexes of at most so many bytes are unpacked when a guard is opened: one picture is then fourteen times as quick.
READY_BYTES = 2 * 2**30

GuardAnswer = Literal["pass", "refuse", "no face"]


@dataclass(frozen=True)
class Decision:
    """What becomes of one picture. ``score`` is that of its closest training picture, ``row`` its place in the training
    set and ``id`` its name where the guard holds names; None where no face was found, ``why`` says so."""

    word: GuardAnswer
    score: float | None
    row: int | None
    channel: str | None
    id: str | None
    why: str = ""

    @property
    def passes(self) -> bool:
        """Whether the picture may be used. One without a face was not checked and may not."""
        return self.word == "pass"


def audit_threshold(result: AuditResult) -> MitigationThreshold:
    """The score at which an audit would list one more exposed person; where no score would do, that of nobody in the
    control set."""
    if result.exposures is None:
        return mitigation_threshold(result, "listed")
    control = result.exposures.control.score
    tests = person_tests(result.exposures.training.score, control)
    lowest = lowest_significant(control, tests, detection_threshold(tests, 1, result.manifest["settings"]["fdr"]))
    if lowest is None:
        return mitigation_threshold(result, "control")
    return MitigationThreshold(lowest, "from here on the audit lists one more exposed person")


def false_refusals(result: AuditResult, line: float) -> Estimate | None:
    """How many of a million harmless pictures would be refused; None without a control set.

    From the control people whom any synthetic picture of the audit comes as close to: each would have been a refusal.
    Takes harmless pictures to be like those of the audit, and training people to be met by accident as often as control
    people. Clopper-Pearson over control people.
    """
    if result.exposures is None:
        return None
    control, n_images = result.exposures.control.score, result.counts["synthetic"].embedded
    part = share(int((control >= line).sum()), len(control))
    scale = 1e6 * result.counts["training"].people / n_images
    low, value, high = (min(1e6, scale * v) for v in (part.low, part.value, part.high))
    return Estimate(
        value, low, high, part.level, len(control), "control people at the line, a synthetic picture; Clopper-Pearson"
    )


class Guard:
    """The training set of an audit as an index, and the line that no generated picture may reach.

    The index holds embeddings, which are biometric: treat it like the pictures. `check` may be called from one thread.
    """

    def __init__(
        self,
        channels: AuditEmbedder,
        by_channel: dict[str, ChannelState],
        galleries: dict[str, npt.NDArray[np.floating]],
        line: MitigationThreshold,
        alignment: ImageAlignment,
        detector: str,
        ids: tuple[str, ...] | None,
    ) -> None:
        self._channels, self._sights, self._galleries = channels, by_channel, galleries
        self._alignment, self._detector, self._ids = alignment, open_detector(detector), ids
        self.line = line

    def __len__(self) -> int:
        return len(next(iter(self._galleries.values())))

    @staticmethod
    def build(run: FinishedRun, out: Path, *, line: str = "audit", names: bool = False) -> MitigationThreshold:
        """Writes the guard of a finished audit to a folder; with ``names`` it can say whom a picture shows.

        Raises SettingError for a line the audit has not, and for a folder that holds something else.
        """
        if out.exists() and any(out.iterdir()) and not (out / ABOUT).exists():
            raise SettingError(f"{out} is not empty and holds no guard; name another folder with -o")
        chosen = audit_threshold(run.result) if line == "audit" else mitigation_threshold(run.result, line)
        training, ground = run.embedded("training"), run.ground
        out.mkdir(parents=True, exist_ok=True, mode=0o700)
        for channel, sight in ground.by_channel.items():
            _save(out / f"{channel}.npy", np.asarray(training.through(channel).vectors, np.float16))
            _save(out / f"{channel}.cohort.npy", np.asarray(sight.cohort, np.float32))
            _save(out / f"{channel}.correction.npy", sight.on_training.astype(np.float32))
        if ground.whitening is not None:
            _save(out / "whitening.npy", np.vstack([ground.whitening.centre, ground.whitening.rows]))
        facts = run.result.manifest["inputs"]["synthetic"]
        about = {
            "format": MARK,
            "version": FORMAT,
            "settings": {**run.settings.facts(), "synthetic": "", "training": "", "control": None},
            "models": list(run.result.models),
            "aligned": facts["aligned"],
            "line": asdict(chosen),
            "standards": {channel: asdict(sight.standard) for channel, sight in ground.by_channel.items()},
            "ids": list(training.ids) if names else None,
        }
        write_bytes(out / ABOUT, (json.dumps(about, indent=1, ensure_ascii=False) + "\n").encode("utf-8"))
        return chosen

    @classmethod
    def open(cls, folder: str | Path, *, device: str = "auto", progress: Progress | None = None) -> Guard:
        """A guard that was written to a folder.

        Raises StoreError when it is damaged or none, and ModelError when a network is not the one it was made with.
        """
        folder = Path(folder)
        try:
            about: dict[str, Any] = json.loads((folder / ABOUT).read_bytes())
            if about["format"] != MARK or about["version"] != FORMAT:
                raise ValueError("another format")
            standards = {channel: ScoreScale(**values) for channel, values in about["standards"].items()}
            galleries = {channel: ready(_load(folder / f"{channel}.npy", np.float16, 2)) for channel in standards}
            by_channel = {
                channel: ChannelState(
                    cohort=_load(folder / f"{channel}.cohort.npy", np.float32, 2),
                    standard=standard,
                    on_synthetic=np.zeros(0),
                    on_training=_load(folder / f"{channel}.correction.npy", np.float32, 1).astype(np.float64),
                    on_control=np.zeros(0),
                    control_score=np.zeros(0),
                )
                for channel, standard in standards.items()
            }
            line = MitigationThreshold(float(about["line"]["score"]), str(about["line"]["why"]))
            ids = None if about["ids"] is None else tuple(str(id) for id in about["ids"])
            n = {len(gallery) for gallery in galleries.values()} | {len(s.on_training) for s in by_channel.values()}
            if len(n) != 1 or (ids is not None and {len(ids)} != n):
                raise ValueError(f"parts of different lengths: {sorted(n)}")
            whitening = None
            if (folder / "whitening.npy").exists():
                rows = _load(folder / "whitening.npy", np.float64, 2)
                whitening = Whitening(rows[0], rows[1:])
            values = {**about["settings"], "synthetic": ".", "training": ".", "out": folder / "none", "device": device}
            alignment = ImageAlignment.from_key(str(about["aligned"]), "as in the audit")
            models, detector = about["models"], str(about["settings"]["detector"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{folder}: no guard, or a damaged one ({error}); make it with unveil guard build RUN -o {folder}"
            ) from None
        channels = AuditEmbedder(channel_config(settings_from(values)), {}, progress=progress)
        channels.restore(models, whitening)
        return cls(channels, by_channel, galleries, line, alignment, detector, ids)

    def check(self, images: Sequence[ImageArray]) -> list[Decision]:
        """A decision on each picture: pixels (H, W, 3) uint8 RGB, the bytes of a picture file, or its path.

        A batch of some dozens costs least a picture. Raises InputError for pixels of another shape or type.
        """
        seen, rows = self._channels.embed_images(face_images(images, self._alignment, self._detector))
        row, score, channel = self.closest(seen)
        names, decisions, at = list(self._sights), [], 0
        for became in rows:
            if became.stage is not None:
                why = f"{became.reason} ({became.detail})" if became.detail else became.reason
                decisions.append(Decision("no face", None, None, None, None, why))
                continue
            high = float(score[at])
            place = int(row[at])
            decisions.append(
                Decision(
                    "refuse" if high >= self.line.score else "pass",
                    *(high, place, names[channel[at]]),
                    None if self._ids is None else self._ids[place],
                )
            )
            at += 1
        return decisions

    def closest(self, seen: dict[str, Vectors]) -> tuple[Ints, Floats, Ints]:
        """Of pictures that every channel has embedded, unit vectors (N, D) by channel: the row of the closest training
        picture (N,), its score (N,) and the channel (N,) that sees it. Raises VectorError for other dimensions."""
        found = []
        for name, sight in self._sights.items():
            vectors, gallery = seen[name], self._galleries[name]
            if vectors.ndim != 2 or vectors.shape[1] != gallery.shape[1]:
                raise VectorError(f"{name}: vectors (N, {gallery.shape[1]}) were expected, got {vectors.shape}")
            best, score = best_rows(np.asarray(vectors, np.float32), gallery, sight.on_training.astype(np.float32))
            own = sight.correction(vectors) if len(vectors) else np.zeros(0)
            found.append((best, sight.standard.of(score + own)))
        channel, score = max_over_channels([score for _, score in found])
        return np.asarray(np.choose(channel, [best for best, _ in found]), np.int64), score, channel


def ready(gallery: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """The rows of an index as they are quickest to compare: in single precision, if memory may be spent on it."""
    return np.asarray(gallery, np.float32) if 2 * gallery.nbytes <= READY_BYTES else gallery


def best_rows(vectors: Vectors, gallery: npt.NDArray[np.floating], offset: Vectors) -> tuple[Ints, Floats]:
    """The best row of a gallery (G, D) for each vector (N, D), and its cosine plus the row's offset; ties go to the
    lower row. In single precision: a guard compares with a line, not to the last bit."""
    best, score = np.zeros(len(vectors), np.int64), np.full(len(vectors), -np.inf)
    for start in range(0, len(gallery), BLOCK):
        block = np.asarray(gallery[start : start + BLOCK], np.float32)
        scores = vectors @ block.T + offset[start : start + BLOCK]
        at = scores.argmax(axis=1)
        high = scores[np.arange(len(scores)), at]
        better = high > score
        best[better], score[better] = at[better] + start, high[better]
    return best, score


def _save(path: Path, array: np.ndarray[Any, Any]) -> None:
    with replacing(path) as file:
        np.save(file, array, allow_pickle=False)


def _load(path: Path, kind: type[Any], dimensions: int) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.dtype != kind or array.ndim != dimensions:
        raise ValueError(f"{path.name} holds {array.ndim} dimensions of {array.dtype}")
    return array
