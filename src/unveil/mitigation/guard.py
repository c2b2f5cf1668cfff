"""A check during generation: does this image show a training person?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from unveil.channels import open_detector
from unveil.channels.alignment import ImageAlignment
from unveil.channels.base import ChannelConfig
from unveil.config.parsing import parse
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

MARK, FORMAT = "unveil guard", 2
ABOUT = "guard.json"
# Rows of the training set per block: half precision is widened to single precision block by block.
BLOCK = 16_384
# Indexes up to this size are widened when a guard is opened, which makes the check of one image 14 times faster.
READY_BYTES = 2 * 2**30

GuardAnswer = Literal["pass", "refuse", "no face"]


@dataclass(frozen=True)
class Decision:
    """The decision on one image, with the score and row of its closest training image.

    ``id`` is the name of that training image if the guard holds names. Without a detected face score, row and id are
    None and ``why`` gives the reason.
    """

    answer: GuardAnswer
    score: float | None
    row: int | None
    channel: str | None
    id: str | None
    why: str = ""

    @property
    def passes(self) -> bool:
        """Whether the image may be used. An image without a detected face was not checked and may not."""
        return self.answer == "pass"


def audit_threshold(result: AuditResult) -> MitigationThreshold:
    """The score at which the audit would find one more significant person.

    If no score would suffice, the threshold lies above every control person.
    """
    if result.exposures is None:
        return mitigation_threshold(result, "significant")
    control = result.exposures.control.score
    tests = person_tests(result.exposures.training.score, control)
    lowest = lowest_significant(control, tests, detection_threshold(tests, 1, result.manifest["settings"]["fdr"]))
    if lowest is None:
        return mitigation_threshold(result, "control")
    return MitigationThreshold(lowest, "from this score on the audit finds one more significant person")


def false_refusals(result: AuditResult, threshold: float) -> Estimate | None:
    """Expected refusals among a million harmless images; None without a control set.

    Estimated from the control people whose best synthetic image reaches the threshold. Assumes that harmless images
    are like those of the audit, and that they match training people by chance as often as control people. The interval
    is Clopper-Pearson over control people.
    """
    if result.exposures is None:
        return None
    control, n_images = result.exposures.control.score, result.counts["synthetic"].embedded
    part = share(int((control >= threshold).sum()), len(control))
    scale = 1e6 * result.counts["training"].people / n_images
    low, value, high = (min(1e6, scale * v) for v in (part.low, part.value, part.high))
    return Estimate(
        value,
        low,
        high,
        part.level,
        len(control),
        "control people at or above the threshold per synthetic image; Clopper-Pearson",
    )


class Guard:
    """The training set of an audit as an index, and the threshold that no generated image may reach.

    The index holds embeddings, which are biometric data: protect it like the images. `check` is not thread-safe.
    """

    def __init__(
        self,
        channels: AuditEmbedder,
        by_channel: dict[str, ChannelState],
        galleries: dict[str, npt.NDArray[np.floating]],
        threshold: MitigationThreshold,
        alignment: ImageAlignment,
        detector: str | None,
        ids: tuple[str, ...] | None,
    ) -> None:
        self._channels, self._by_channel, self._galleries = channels, by_channel, galleries
        self._alignment, self._detector, self._ids = alignment, open_detector(detector), ids
        self.threshold = threshold

    def __len__(self) -> int:
        return len(next(iter(self._galleries.values())))

    @staticmethod
    def build(run: FinishedRun, out: Path, *, threshold: str = "audit", names: bool = False) -> MitigationThreshold:
        """Writes the guard of a finished audit to a folder; with ``names`` it holds the ids of training images.

        Raises SettingError for a threshold that the audit does not have, and for a folder with other content.
        """
        if out.exists() and any(out.iterdir()) and not (out / ABOUT).exists():
            raise SettingError(f"{out} is not empty and holds no guard; name another folder with -o")
        chosen = audit_threshold(run.result) if threshold == "audit" else mitigation_threshold(run.result, threshold)
        training, ground = run.embedded("training"), run.ground
        out.mkdir(parents=True, exist_ok=True, mode=0o700)
        for channel, state in ground.by_channel.items():
            _save(out / f"{channel}.npy", np.asarray(training.through(channel).vectors, np.float16))
            _save(out / f"{channel}.cohort.npy", np.asarray(state.cohort, np.float32))
            _save(out / f"{channel}.correction.npy", state.on_training.astype(np.float32))
        if ground.whitening is not None:
            _save(out / "whitening.npy", np.vstack([ground.whitening.centre, ground.whitening.rows]))
        facts = run.result.manifest["inputs"]["synthetic"]
        about = {
            "format": MARK,
            "version": FORMAT,
            "channels": asdict(run.channel_config.absolute),
            "models": list(run.result.models),
            "aligned": facts["aligned"],
            "threshold": asdict(chosen),
            "standards": {channel: asdict(state.standard) for channel, state in ground.by_channel.items()},
            "ids": list(training.ids) if names else None,
        }
        write_bytes(out / ABOUT, (json.dumps(about, indent=1, ensure_ascii=False) + "\n").encode("utf-8"))
        return chosen

    @classmethod
    def open(cls, folder: str | Path, *, device: str = "auto", progress: Progress | None = None) -> Guard:
        """Opens a guard that `build` wrote to a folder.

        Raises StoreError if the folder holds no guard or a damaged one, and ModelError if a model differs from that of
        the audit.
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
            threshold = MitigationThreshold(float(about["threshold"]["score"]), str(about["threshold"]["why"]))
            ids = None if about["ids"] is None else tuple(str(id) for id in about["ids"])
            n = {len(gallery) for gallery in galleries.values()} | {len(s.on_training) for s in by_channel.values()}
            if len(n) != 1 or (ids is not None and {len(ids)} != n):
                raise ValueError(f"parts of different lengths: {sorted(n)}")
            whitening = None
            if (folder / "whitening.npy").exists():
                rows = _load(folder / "whitening.npy", np.float64, 2)
                whitening = Whitening(rows[0], rows[1:])
            config = ChannelConfig(**{name: _hashable(value) for name, value in about["channels"].items()})
            alignment = ImageAlignment.from_key(str(about["aligned"]), "as in the audit")
            models = about["models"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{folder} holds no guard, or a damaged one ({error}); make it with unveil guard build RUN -o {folder}"
            ) from None
        config = replace(config, device=parse({"device": device})["device"])
        channels = AuditEmbedder(config, {}, progress=progress)
        channels.restore(models, whitening)
        return cls(channels, by_channel, galleries, threshold, alignment, config.detector, ids)

    def check(self, images: Sequence[ImageArray]) -> list[Decision]:
        """Decides on each image: pixels (H, W, 3) uint8 RGB, the bytes of an image file, or its path.

        Batches of some dozen images are fastest. Raises InputError for pixels of another shape or type.
        """
        embedded, rows = self._channels.embed_images(face_images(images, self._alignment, self._detector))
        row, score, channel = self.closest(embedded)
        names, decisions, at = list(self._by_channel), [], 0
        for row_result in rows:
            if row_result.stage is not None:
                why = f"{row_result.reason} ({row_result.detail})" if row_result.detail else row_result.reason
                decisions.append(Decision("no face", None, None, None, None, why))
                continue
            high = float(score[at])
            place = int(row[at])
            decisions.append(
                Decision(
                    "refuse" if high >= self.threshold.score else "pass",
                    *(high, place, names[channel[at]]),
                    None if self._ids is None else self._ids[place],
                )
            )
            at += 1
        return decisions

    def closest(self, embedded: dict[str, Vectors]) -> tuple[Ints, Floats, Ints]:
        """The row (N,) of the closest training image, its score (N,) and its channel (N,).

        ``embedded`` holds unit vectors (N, D) by channel. Raises VectorError for other dimensions.
        """
        found = []
        for name, state in self._by_channel.items():
            vectors, gallery = embedded[name], self._galleries[name]
            if vectors.ndim != 2 or vectors.shape[1] != gallery.shape[1]:
                raise VectorError(f"{name}: expected vectors of shape (N, {gallery.shape[1]}), got {vectors.shape}")
            best, score = best_rows(np.asarray(vectors, np.float32), gallery, state.on_training.astype(np.float32))
            own = state.correction(vectors) if len(vectors) else np.zeros(0)
            found.append((best, state.standard.of(score + own)))
        channel, score = max_over_channels([score for _, score in found])
        return np.asarray(np.choose(channel, [best for best, _ in found]), np.int64), score, channel


def ready(gallery: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """The rows of an index in single precision if that fits into READY_BYTES, else as they are."""
    return np.asarray(gallery, np.float32) if 2 * gallery.nbytes <= READY_BYTES else gallery


def best_rows(vectors: Vectors, gallery: npt.NDArray[np.floating], offset: Vectors) -> tuple[Ints, Floats]:
    """The best row (N,) of a gallery (G, D) for each vector (N, D), and its cosine plus the row's offset (N,).

    Ties go to the lower row. Single precision suffices for a comparison with a threshold.
    """
    best, score = np.zeros(len(vectors), np.int64), np.full(len(vectors), -np.inf)
    for start in range(0, len(gallery), BLOCK):
        block = np.asarray(gallery[start : start + BLOCK], np.float32)
        scores = vectors @ block.T + offset[start : start + BLOCK]
        at = scores.argmax(axis=1)
        high = scores[np.arange(len(scores)), at]
        better = high > score
        best[better], score[better] = at[better] + start, high[better]
    return best, score


def _hashable(value: Any) -> Any:
    """A value of JSON as the configuration of channels holds it."""
    return tuple(value) if isinstance(value, list) else value


def _save(path: Path, array: np.ndarray[Any, Any]) -> None:
    with replacing(path) as file:
        np.save(file, array, allow_pickle=False)


def _load(path: Path, kind: type[Any], dimensions: int) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.dtype != kind or array.ndim != dimensions:
        raise ValueError(f"{path.name} holds {array.ndim} dimensions of {array.dtype}")
    return array
