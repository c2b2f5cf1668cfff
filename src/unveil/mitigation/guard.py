"""A check during generation: does this image show a training person?"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
import numpy.typing as npt
from PIL import Image

from unveil.channels import AppearanceChannel, open_detector
from unveil.channels.alignment import ImageAlignment
from unveil.channels.base import ChannelConfig
from unveil.choices import CHANNELS
from unveil.config.parsing import parse
from unveil.embedding.embedder import AuditEmbedder
from unveil.engine import LOCAL, EngineOpener, shared_engine
from unveil.errors import ImageError, SettingError, SourceError, StoreError, VectorError
from unveil.images import EmbeddingSource, Source, decode_rgb, pixel_digest
from unveil.io.atomic import remove_stale_temp, replacing, write_bytes
from unveil.io.checksums import file_sha256, sealed, unsealed
from unveil.io.documents import FROM_LIBRARIES, part_of, read_json, reason
from unveil.io.folders import exclusive, other_file, unchanged
from unveil.io.memory import held_memory
from unveil.io.npy import mapped_array
from unveil.io.regular import read_regular
from unveil.io.trust import is_own, signed
from unveil.mitigation.inputs import ImageArray, checked_images, face_images, file_bytes, hidden_in, listed
from unveil.mitigation.pixel_digests import DIGEST_BYTES, pixel_digests
from unveil.mitigation.threshold import MitigationThreshold, control_scores, is_score, mitigation_threshold
from unveil.progress import Progress, Silent
from unveil.results import AuditResult, ModelFacts, record_of
from unveil.runs.finished import ChannelState, FinishedRun, ModelKeys, from_library, model_keys
from unveil.stats.generators import generator
from unveil.stats.intervals import share
from unveil.stats.outliers import without_outliers
from unveil.stats.person_tests import person_tests
from unveil.stats.power import detection_threshold, lowest_significant
from unveil.stats.score_scale import ScoreScale, max_over_channels
from unveil.stats.whitening import Whitening
from unveil.types import AlignmentKey, ChannelName, Embedded, Estimate, Floats, Ints, Vectors

MARK, FORMAT = "unveil guard", 5
ABOUT, DIGESTS, PIXELS, WHITENING = "guard.json", "digests.npy", "pixels.npy", "whitening.npy"
# All that a guard consists of.
OF_CHANNELS = tuple(f"{channel}{part}.npy" for channel in CHANNELS for part in ("", ".cohort", ".correction"))
OWN = (ABOUT, DIGESTS, PIXELS, WHITENING, *OF_CHANNELS)
MAX_ABOUT_BYTES = 4 * 2**30
# Rows are stored in half precision, so that their length is not exactly 1.
UNIT_TOLERANCE = 0.01
# Rows of the training set per block: half precision is converted to single precision block by block.
BLOCK = 16_384
# Indexes up to this size are converted when a guard is opened, which makes the check of one image 14 times faster.
READY_BYTES = 2 * 2**30
# Training images that `Guard.build` compares with the whole index, and how many at a time.
MAX_MEASURED, MEASURED_BATCH = 5000, 256
# A threshold that an audit gives must refuse this share of the training images: others are as high as copies score.
MIN_REFUSED = 0.95
# Images of a set of crops whose sizes are looked at, and the most sizes that they may have.
SAMPLED_SIZES, MAX_SIZES = 50, 8
IDENTICAL = "identical to training image"
SEVERAL = "several faces in the image (only the large one near the centre was compared; crop it to one face)"

logger = logging.getLogger(__name__)

GuardAnswer = Literal["pass", "refuse", "no face"]


@dataclass(frozen=True)
class Decision:
    """The decision on one image, with the score and row of its closest training image.

    ``answer`` is `pass`, `refuse` or `no face`; ``passes`` says whether the image may be used.
    ``id`` is the name of that training image if the guard holds names. If the image is identical to a training image,
    the same file or the same pixels, row and id are of that image and ``why`` says so. Without a detected face, score
    and channel are None, and ``why`` gives the reason. An image with several faces never passes: one was compared.
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
        return below_findings(result)
    control = control_scores(result, "audit")
    tests = person_tests(result.exposures.training.score, control.scores)
    one_more = detection_threshold(tests, 1, result.manifest["settings"]["fdr"])
    lowest = lowest_significant(control.scores, tests, one_more)
    if lowest is None:
        return mitigation_threshold(result, "control")
    return MitigationThreshold(lowest, f"from this score on the audit finds one more significant person{control.note}")


def below_findings(result: AuditResult) -> MitigationThreshold:
    """A score above the highest of the people who are not significant, below that of every finding.

    The lowest score of a finding can be that of a near-perfect copy, and worse copies would pass.
    """
    lowest = mitigation_threshold(result, "significant")
    others = [p.score for p in result.people if not p.significant_by and p.score < lowest.score]
    if not others or not np.isfinite(lowest.score):
        return lowest
    highest = float(without_outliers(np.array(others)).max())
    return MitigationThreshold(
        float(np.nextafter(highest, np.inf)), "above the highest score of the people who are not significant"
    )


def guard_threshold(result: AuditResult, rule: str) -> MitigationThreshold:
    """The threshold that ``rule`` names, ``audit`` or one of `mitigation_threshold`. Raises SettingError as it does."""
    if rule == "audit":
        chosen = audit_threshold(result)
    else:
        chosen = below_findings(result) if rule == "significant" else mitigation_threshold(result, rule)
    if not np.isfinite(chosen.score):
        use = "a score" if result.exposures is None else "--threshold control or a score"
        raise SettingError(f"--threshold {rule}: expected a finding by a test, found only copies. Use {use}")
    return chosen


def false_refusals(result: AuditResult, threshold: float) -> Estimate | None:
    """Expected refusals among a million images that reproduce no training person; None without a control set.

    Estimated from the control people whose best synthetic image reaches the threshold. Assumes that such images
    are like those of the audit, and that they match training people by chance as often as control people. The interval
    is Clopper-Pearson over control people.
    """
    if result.exposures is None:
        return None
    # Control people who score like copies are not there by chance.
    control, n_images = without_outliers(result.exposures.control.score), result.counts["synthetic"].embedded
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


@dataclass(frozen=True)
class BuiltGuard:
    """What `Guard.build` wrote: the threshold, and the share of the training images that reach it.

    ``training_refused`` ignores that identical images are always refused. It is the share of training images that the
    guard still refuses when a generator changes them a little. ``n_pixels`` training images are recognised by their
    pixels; the others only by their file, since they could not be read. In images outside the ``alignment``, a face is
    looked for.
    """

    threshold: MitigationThreshold
    training_refused: Estimate
    n_pixels: int
    alignment: ImageAlignment


class AboutGuard(TypedDict):
    """The description of a guard."""

    channels: ChannelConfig
    models: list[ModelFacts]
    keys: ModelKeys
    aligned: AlignmentKey
    threshold: MitigationThreshold
    scales: dict[ChannelName, ScoreScale]
    ids: list[str] | None
    parts: dict[str, str]


class DigestIndex:
    """Rows by their SHA-256 digests (N, 32) uint8. A row of zeros has no digest."""

    def __init__(self, digests: npt.NDArray[np.uint8]) -> None:
        self._digests = digests
        # Sorted by their first 8 bytes, which almost always decide.
        prefixes = _prefixes(digests)
        self._order = np.argsort(prefixes, kind="stable")
        self._sorted_prefixes = prefixes[self._order]

    def find(self, digest: bytes) -> int | None:
        """The first row with this digest, or None."""
        sought = np.frombuffer(digest, np.uint8)
        (prefix,) = _prefixes(sought[None])
        start, end = (np.searchsorted(self._sorted_prefixes, prefix, side) for side in ("left", "right"))
        return next((int(row) for row in self._order[start:end] if (self._digests[row] == sought).all()), None)


class GuardIndex:
    """The training set of an audit as an index: embeddings and hub corrections by channel, digests and names.

    ``digests`` and ``pixels`` (N, 32) uint8 are the SHA-256 of the image files and of their pixels. ``galleries``
    (N, D) are unit rows by channel.
    """

    def __init__(
        self,
        by_channel: Mapping[str, ChannelState],
        galleries: Mapping[str, npt.NDArray[np.floating]],
        digests: npt.NDArray[np.uint8],
        pixels: npt.NDArray[np.uint8],
        ids: tuple[str, ...] | None,
    ) -> None:
        self._by_channel, self._galleries, self.ids = by_channel, galleries, ids
        self._n, self._files, self._pixels = len(digests), DigestIndex(digests), DigestIndex(pixels)
        self._has_pixels = bool(pixels.any())

    def __len__(self) -> int:
        return self._n

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of the channels."""
        return tuple(self._by_channel)

    def identical(self, image: ImageArray) -> int | None:
        """The first row of the training image that is the same file or has the same pixels, or None."""
        if isinstance(image, np.ndarray):
            return self._by_pixels(image)
        data = file_bytes(image)
        if data is None:
            return None
        row = self._files.find(hashlib.sha256(data).digest())
        if row is not None or not self._has_pixels:
            return row
        try:
            with held_memory():
                return self._by_pixels(decode_rgb(data))
        except ImageError:
            return None

    def _by_pixels(self, pixels: npt.NDArray[np.uint8]) -> int | None:
        return self._pixels.find(pixel_digest(pixels)) if self._has_pixels else None

    def closest(self, embedded: Mapping[str, Vectors]) -> tuple[Ints, Floats, Ints]:
        """The row (N,) of the closest training image, its score (N,) and its channel (N,).

        ``embedded`` holds unit vectors (N, D) by channel. Raises VectorError for other dimensions.
        """
        found = []
        for name, state in self._by_channel.items():
            vectors, gallery = embedded[name], self._galleries[name]
            if vectors.ndim != 2 or vectors.shape[1] != gallery.shape[1]:
                raise VectorError(f"{name}: expected vectors of shape (N, {gallery.shape[1]}), got {vectors.shape}")
            best, score = best_rows(np.asarray(vectors, np.float32), gallery, state.on_training.astype(np.float32))
            own = state.correction(vectors, skip_best=True) if len(vectors) else np.zeros(0)
            found.append((best, state.scale.of(score + own)))
        channel, score = max_over_channels([score for _, score in found])
        return np.asarray(np.choose(channel, [best for best, _ in found]), np.int64), score, channel


class Guard:
    """The training set of an audit as an index, and the threshold that no generated image may reach.

    The index holds embeddings, which are biometric data: protect it like the images. ``own`` says whether this user
    made the guard and the run that it is of: who made them decided its threshold and what it refuses. ``alignment``
    says which images are compared as they are; in others a face is looked for. `check` is not thread-safe.
    """

    def __init__(
        self,
        embedder: AuditEmbedder,
        index: GuardIndex,
        threshold: MitigationThreshold,
        alignment: ImageAlignment,
        detector: str | None,
        *,
        own: bool = True,
    ) -> None:
        self._embedder, self._index = embedder, index
        self.alignment, self._detector = alignment, open_detector(detector)
        self.threshold, self.own = threshold, own

    def __len__(self) -> int:
        return len(self._index)

    @staticmethod
    def build(
        run: FinishedRun,
        out: Path,
        *,
        threshold: str = "audit",
        names: bool = False,
        engine: str = LOCAL,
        progress: Progress | None = None,
    ) -> BuiltGuard:
        """Writes the guard of a finished audit to a folder. With ``names`` it holds the ids of training images.

        Training images that can be read are also recognised by their pixels; ``engine`` is where they are decoded. The
        guard of a run that somebody else made counts as theirs. Raises SettingError for a threshold that the audit does
        not have, for an audit of precomputed embeddings, for a folder with other content or of images,
        and if another process works in the run or in the folder.
        """
        run.check_outside("-o", out)
        other = other_file(out, OWN)
        if other is not None:
            raise SettingError(f"-o: expected a new folder or a guard, found {other} in {out}. Name another folder")
        inputs = run.result.manifest["inputs"]
        if any(facts["kind"] == EmbeddingSource.kind for facts in inputs.values()):
            raise SettingError(
                f"{run.path}: expected an audit of images, found one of precomputed embeddings, so no model can embed "
                "a new image. Audit the images"
            )
        chosen = guard_threshold(run.result, threshold)
        progress = progress or Silent()
        with unchanged(run.path), shared_engine(engine, progress) as opener:
            return _write_guard(run, out, chosen, names, progress, opener, rule=threshold)

    @classmethod
    def open(cls, folder: str | Path, *, device: str = "auto", progress: Progress | None = None) -> Guard:
        """Opens a guard that `build` wrote to a folder.

        Raises StoreError if the folder holds no guard, a damaged one or parts of several, and ModelError if a model
        differs from that of the audit. Model files of a guard that somebody else built are those of the library.
        """
        folder = Path(folder)
        try:
            found = unsealed(read_json(read_regular(folder / ABOUT, MAX_ABOUT_BYTES)))
            if found["format"] != MARK or found["version"] != FORMAT:
                raise ValueError("another version of unveil wrote it")
            about = record_of(part_of(found, AboutGuard), AboutGuard)
            index = _read_index(folder, about)
            whitening = None
            if AppearanceChannel.name in about["scales"]:
                rows = _load(folder, WHITENING, about, np.float64, 2)
                whitening = Whitening(rows[0], rows[1:])
            config, models, threshold = about["channels"], about["models"], about["threshold"]
            if set(config.channels) != set(about["scales"]) or len(set(config.channels)) < len(config.channels):
                raise ValueError("its channels are others than those of its index")
            alignment = ImageAlignment.from_key(about["aligned"], "as in the audit")
            if len(models) != len(config.models) or not models:
                raise ValueError(f"{len(models)} descriptions of {len(config.models)} models")
        except FROM_LIBRARIES as error:
            raise StoreError(
                f"{folder}: expected a guard, found none or a damaged one ({reason(str(error))}). Make one with "
                f"unveil guard build RUN -o {folder}"
            ) from None
        own = is_own(found)
        if not own:
            config = from_library(config, about["keys"])
        config = replace(config, device=parse({"device": device})["device"])
        embedder = AuditEmbedder(config, {}, progress=progress)
        keys = about["keys"]
        # Nothing is detected in aligned crops, so another detector changes nothing there.
        detector = None if alignment.sides is None else keys["detector"]
        embedder.restore(models, whitening, detector=detector, copy_model=keys["copy_model"])
        return cls(embedder, index, threshold, alignment, config.detector, own=own)

    def check(self, images: Iterable[ImageArray | Image.Image]) -> list[Decision]:
        """Decides on each image: pixels (H, W, 3) uint8 RGB, an image of Pillow, the bytes of an image file or its
        path. An image of Pillow with further frames or transparent pixels does not pass, as its file would not.

        An image that is the same file as a training image, or has the same pixels, never passes. Batches of some dozen
        images are fastest. Raises InputError for pixels of another shape or type, and for one image without a list.
        """
        given = listed(images)
        images = checked_images(given)
        hidden = [hidden_in(image) for image in given]
        embedded, rows = self._embedder.embed_images(face_images(images, self.alignment, self._detector, hidden))
        scored = iter(zip(*self._index.closest(embedded), strict=True))
        decisions = []
        for image, row in zip(images, rows, strict=True):
            if row.stage is not None:
                why = f"{row.reason} ({row.detail})" if row.detail else row.reason
                decision = Decision("no face", None, None, None, None, why)
            else:
                closest, score, channel = next(scored)
                answer: GuardAnswer = "refuse" if score >= self.threshold.score else "pass"
                name = self._index.channels[channel]
                decision = Decision(answer, float(score), int(closest), name, self._id(int(closest)))
                if answer == "pass" and row.n_faces > 1:  # another face may be that of a training person
                    decision = replace(decision, answer="no face", why=SEVERAL)
            identical = self._index.identical(image)
            if identical is not None:
                decision = replace(decision, answer="refuse", row=identical, id=self._id(identical), why=IDENTICAL)
            decisions.append(decision)
        return decisions

    def closest(self, embedded: Mapping[str, Vectors]) -> tuple[Ints, Floats, Ints]:
        """The row (N,) of the closest training image, its score (N,) and its channel (N,).

        ``embedded`` holds unit vectors (N, D) by channel. Raises VectorError for other dimensions.
        """
        return self._index.closest(embedded)

    def _id(self, row: int) -> str | None:
        return None if self._index.ids is None else self._index.ids[row]


def _write_guard(
    run: FinishedRun,
    out: Path,
    chosen: MitigationThreshold,
    names: bool,
    progress: Progress,
    engine: EngineOpener,
    *,
    rule: str,
) -> BuiltGuard:
    """Writes the parts of a guard, then its description. Measures before what it refuses: a threshold of the audit,
    named by ``rule``, must refuse training images."""
    training, state, config = run.embedded("training"), run.state, run.channel_config.absolute
    digests = np.frombuffer(bytes.fromhex("".join(training.digests)), np.uint8).reshape(len(training), DIGEST_BYTES)
    rows = {channel: np.asarray(training.through(channel).vectors, np.float16) for channel in state.by_channel}
    index = GuardIndex(state.by_channel, {name: ready(part) for name, part in rows.items()}, digests, digests, None)
    refused = training_refused(index, training, chosen.score, generator(run.seed, "guard"))
    if not is_score(rule) and refused.value < MIN_REFUSED:
        raise SettingError(
            f"--threshold {rule}: expected a score that refuses training images, found {chosen.score:.3f}, which "
            f"refuses {refused.value:.1%} of them: copies would pass. Name a lower score with --threshold"
        )
    del index
    alignment = alignment_of(run)
    pixels = _pixel_digests(run, training, progress, engine)
    arrays: dict[str, npt.NDArray[Any]] = {DIGESTS: digests, PIXELS: pixels}
    for channel, of_channel in state.by_channel.items():
        arrays[f"{channel}.npy"] = rows[channel]
        arrays[f"{channel}.cohort.npy"] = np.asarray(of_channel.cohort, np.float32)
        arrays[f"{channel}.correction.npy"] = of_channel.on_training.astype(np.float32)
    if state.whitening is not None:
        arrays[WHITENING] = np.vstack([state.whitening.centre, state.whitening.rows])
    about: dict[str, Any] = {
        "format": MARK,
        "version": FORMAT,
        "channels": asdict(config),
        "models": list(run.result.models),
        "keys": model_keys(run.result),
        "aligned": alignment.key,
        "threshold": asdict(chosen),
        "scales": {channel: asdict(of_channel.scale) for channel, of_channel in state.by_channel.items()},
        "ids": list(training.ids) if names else None,
    }
    # The description is last and names the hash of every part: a guard that was half written is no guard.
    with exclusive(out):
        remove_stale_temp(out, of=OWN)
        for name, array in arrays.items():
            _save(out / name, array)
        about["parts"] = {name: file_sha256(out / name) for name in arrays}
        # Vectors, corrections and scores of somebody else's run are theirs, whoever copies them into a guard.
        text = json.dumps(sealed(signed(about) if run.own else about), indent=1, ensure_ascii=False) + "\n"
        write_bytes(out / ABOUT, text.encode("utf-8"))
    return BuiltGuard(chosen, refused, int(pixels.any(axis=1).sum()), alignment)


def alignment_of(run: FinishedRun) -> ImageAlignment:
    """Which images a guard of this audit compares as they are.

    After an audit that took all images for aligned crops, these are square images of the sizes that such crops have:
    an image of another size may be a whole photograph. Where crops are not square, have many sizes or cannot be read,
    they are images of every size.
    """
    alignment = run.alignment("synthetic")
    if alignment.sides is not None:
        return alignment
    sizes = set[tuple[int, ...]]()
    for role in ("synthetic", "training"):
        with contextlib.suppress(SourceError):
            sizes |= _sizes(run.source(role))
    if not sizes or len(sizes) > MAX_SIZES or any(height != width for height, width in sizes):
        return alignment
    return replace(alignment, sides=frozenset(side for side, _ in sizes))


def _sizes(source: Source) -> set[tuple[int, ...]]:
    """The sizes (H, W) of some images of a source."""
    sizes = set[tuple[int, ...]]()
    n = len(source.records)
    for row in dict.fromkeys(i * n // SAMPLED_SIZES for i in range(SAMPLED_SIZES)) if n else ():
        with contextlib.suppress(ImageError), held_memory():
            sizes.add(decode_rgb(source.read(source.records[row])).shape[:2])
    return sizes


def training_refused(index: GuardIndex, training: Embedded, threshold: float, rng: np.random.Generator) -> Estimate:
    """The share of the training images whose own score reaches the threshold.

    Measured on all of them, or on a random sample of MAX_MEASURED with a Clopper-Pearson interval.
    """
    n = len(training)
    rows = np.sort(rng.permutation(n)[:MAX_MEASURED])
    reached = 0
    for start in range(0, len(rows), MEASURED_BATCH):
        batch = training.take(rows[start : start + MEASURED_BATCH])
        _, score, _ = index.closest({channel: batch.through(channel).vectors for channel in index.channels})
        reached += int((score >= threshold).sum())
    if len(rows) < n:
        return share(reached, len(rows), "share of a random sample of training images that reach the threshold")
    value = reached / n
    return Estimate(value, value, value, 1.0, n, "share of all training images that reach the threshold")


def _pixel_digests(
    run: FinishedRun, training: Embedded, progress: Progress, engine: EngineOpener
) -> npt.NDArray[np.uint8]:
    """The digests (N, 32) of the pixels of the training images. Zeros mark one that has changed or is missing."""
    try:
        source = run.source("training")
    except SourceError as error:
        logger.warning("training images are recognised by their files alone, not by their pixels: %s", error)
        return np.zeros((len(training), DIGEST_BYTES), np.uint8)
    opener = run.source_spec("training")
    return pixel_digests(source, training.ids, training.digests, progress, engine(), opener)


def _read_index(folder: Path, about: AboutGuard) -> GuardIndex:
    """The index in a folder. Raises ValueError, OSError, KeyError or TypeError if it is damaged."""
    scales = about["scales"]
    if not scales or not all(scale.spread > 0 for scale in scales.values()):
        raise ValueError("no scale of scores")
    galleries = {channel: ready(_unit(_load(folder, f"{channel}.npy", about, np.float16, 2))) for channel in scales}
    by_channel = {
        channel: ChannelState(
            cohort=_unit(_load(folder, f"{channel}.cohort.npy", about, np.float32, 2)),
            scale=scale,
            on_synthetic=np.zeros(0),
            on_training=_load(folder, f"{channel}.correction.npy", about, np.float32, 1).astype(np.float64),
            on_control=np.zeros(0),
        )
        for channel, scale in scales.items()
    }
    digests, pixels = (_load(folder, name, about, np.uint8, 2) for name in (DIGESTS, PIXELS))
    if {digests.shape[1], pixels.shape[1]} != {DIGEST_BYTES} or not digests.any(axis=1).all():
        raise ValueError(f"{DIGESTS} or {PIXELS} holds no digests")
    ids = None if about["ids"] is None else tuple(about["ids"])
    lengths = {len(digests), len(pixels), *(len(gallery) for gallery in galleries.values())}
    lengths |= {len(state.on_training) for state in by_channel.values()}
    lengths |= set() if ids is None else {len(ids)}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"parts of different lengths: {sorted(lengths)}")
    return GuardIndex(by_channel, galleries, digests, pixels, ids)


def _unit(rows: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """The same rows (N, D). Raises ValueError unless each has length 1, up to the rounding of half precision."""
    for start in range(0, len(rows), BLOCK):
        with np.errstate(over="ignore"):
            length = np.linalg.norm(np.asarray(rows[start : start + BLOCK], np.float32), axis=1)
        if (np.abs(length - 1) > UNIT_TOLERANCE).any():
            raise ValueError("its rows are no unit vectors")
    return rows


def _prefixes(digests: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """The first 8 bytes of each digest (N, 32) as a number (N,)."""
    return np.ascontiguousarray(digests[:, :8]).view(np.uint64).ravel()


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
        row = scores.argmax(axis=1)
        high = scores[np.arange(len(scores)), row]
        better = high > score
        best[better], score[better] = row[better] + start, high[better]
    return best, score


def _save(path: Path, array: np.ndarray[Any, Any]) -> None:
    with replacing(path) as file:
        np.save(file, array, allow_pickle=False)


def _load(folder: Path, name: str, about: AboutGuard, kind: type[Any], dimensions: int) -> np.ndarray[Any, Any]:
    """A part of a guard, mapped. Raises ValueError if it is damaged or another than ``about`` states."""
    if Path(name).name != name or file_sha256(folder / name) != about["parts"][name]:
        raise ValueError(f"{name} is damaged or of another guard")
    return mapped_array(folder / name, kind, dimensions)
