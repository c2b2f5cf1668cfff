"""YuNet and SCRFD: detectors that give a score, a box and landmarks for each cell of three grids."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from unveil.errors import ModelError
from unveil.faces.align import ARCFACE_TEMPLATE, ImageArray
from unveil.faces.detectors.base import DetectedFace, Face
from unveil.faces.models import DetectorSpec, load_detector
from unveil.faces.onnx_model import OnnxModel, Tensor

STRIDES = (8, 16, 32)
# As in their authors' code: the lowest score of a face, and the largest overlap of two faces.
MIN_SCORE = {"yunet": 0.6, "scrfd": 0.5}
MAX_OVERLAP = {"yunet": 0.3, "scrfd": 0.4}
# A hostile or broken model may detect any number of faces; those with the highest scores are used.
MAX_FACES = 1000
ANCHORS = {"yunet": 1, "scrfd": 2}

Grid = npt.NDArray[np.float64]


class GridDetector:
    """A detector in ONNX form. It runs on the processor: one image is too little work for a GPU."""

    min_side, max_side = 128, 640

    def __init__(self, model: str | Path) -> None:
        self.spec: DetectorSpec
        self.spec, weights = load_detector(model)
        self.name, self.licence = self.spec.name, self.spec.licence
        self._model = _open_any_size(weights, str(model))
        shape = self._model.inputs[0].shape
        self._side = shape[2] if isinstance(shape[2], int) else None
        if self._side is not None:
            self._check_side(shape)
        self._mean = np.asarray(self.spec.mean, np.float32)
        self._scale = 1 / np.asarray(self.spec.std, np.float32)
        kinds = ("cls", "obj", "bbox", "kps") if self.spec.family == "yunet" else ("cls", "bbox", "kps")
        outputs = [output.name for output in self._model.outputs]
        if len(self._model.inputs) != 1 or len(outputs) != len(kinds) * len(STRIDES):
            raise ModelError(
                f"{model}: a {self.spec.family} detector gives {', '.join(kinds)} for each of the strides "
                f"{STRIDES}, {len(kinds) * len(STRIDES)} outputs; this graph has {outputs}"
            )
        self._kinds = kinds

    @property
    def key(self) -> str:
        # The file and its description: one graph with another mean finds other faces.
        return f"{self.spec.family} {self.spec.sha256} {self.spec.model_id} score {MIN_SCORE[self.spec.family]}"

    @property
    def runtime(self) -> str:
        return self._model.runtime

    def _check_side(self, shape: tuple[object, ...]) -> None:
        if shape[2] != shape[3] or self._side is None or not 32 <= self._side <= 4096 or self._side % 32:
            raise ModelError(f"{self._model.where}: a detector of open or square input was expected, got {shape}")

    def detect(self, image: ImageArray) -> list[DetectedFace]:
        tensor, scale = self._tensor(image)
        outputs = self._model.run(tensor)
        rows, columns = tensor.shape[2:]
        decoded = [
            self._decode(outputs[i :: len(STRIDES)], stride, rows // stride, columns // stride)
            for i, stride in enumerate(STRIDES)
        ]
        scores, boxes, points = (np.concatenate(parts) for parts in zip(*decoded, strict=True))
        chosen = self._suppress_overlaps(scores, boxes)
        return [
            DetectedFace((float(b[0]), float(b[1]), float(b[2]), float(b[3])), p)
            for b, p in zip(boxes[chosen] / scale, points[chosen] / scale, strict=True)
        ]

    def face(self, image: ImageArray, detected: DetectedFace) -> Face:
        if detected.landmarks is None:
            raise ValueError("a grid detector finds landmarks with every face")
        return Face(detected.landmarks, ARCFACE_TEMPLATE)

    def _tensor(self, image: ImageArray) -> tuple[Tensor, float]:
        """The input tensor (1, 3, H, W), padded with black at the right and below, and the scale of the image in it."""
        height, width = image.shape[:2]
        scale = 1.0
        if self._side is not None and max(height, width) != self._side:
            scale = self._side / max(height, width)
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
            height, width = image.shape[:2]
        rows, columns = (-(-n // 32) * 32 if self._side is None else self._side for n in (height, width))
        order = (0, 1, 2) if self.spec.channels == "RGB" else (2, 1, 0)
        tensor = np.empty((1, 3, rows, columns), np.float32)
        for plane, channel in enumerate(order):
            tensor[0, plane] = -self._mean[plane]
            tensor[0, plane, :height, :width] += image[..., channel]
            tensor[0, plane] *= self._scale[plane]
        return tensor, scale

    def _decode(self, outputs: list[Tensor], stride: int, rows: int, columns: int) -> tuple[Grid, Grid, Grid]:
        """The scores (n,), boxes (n, 4) and landmarks (n, 5, 2) of those cells of one grid that contain a face."""
        cells = rows * columns * ANCHORS[self.spec.family]
        widths = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
        flat = {}
        for kind, output in zip(self._kinds, outputs, strict=True):
            if output.size != cells * widths[kind]:
                raise ModelError(
                    f"{self._model.where}: {kind} of stride {stride} should have {cells} x {widths[kind]} numbers for "
                    f"an image of {columns * stride} x {rows * stride}, got {output.shape}"
                )
            flat[kind] = output.reshape(cells, widths[kind])
        score = flat["cls"][:, 0].astype(np.float64)
        if self.spec.family == "yunet":
            score = np.sqrt(np.clip(score, 0, 1) * np.clip(flat["obj"][:, 0], 0, 1))
        cells_with_face = np.flatnonzero(score >= MIN_SCORE[self.spec.family])
        corner = _cells(rows, columns, ANCHORS[self.spec.family])[cells_with_face]
        box = flat["bbox"][cells_with_face].astype(np.float64)
        point = flat["kps"][cells_with_face].astype(np.float64).reshape(-1, 5, 2)
        score = score[cells_with_face]
        with np.errstate(over="ignore", invalid="ignore"):
            if self.spec.family == "yunet":
                centre, half = corner + box[:, :2], np.exp(box[:, 2:]) / 2
                edges = np.hstack([centre - half, centre + half])
            else:
                edges = np.hstack([corner - box[:, :2], corner + box[:, 2:]])
            points = corner[:, None] + point
            # Landmarks in one place allow no alignment.
            valid = (np.ptp(points, axis=1) > 1e-3).any(1)
        valid &= np.isfinite(edges).all(1) & np.isfinite(points).all((1, 2)) & np.isfinite(score)
        return score[valid], edges[valid] * stride, points[valid] * stride

    def _suppress_overlaps(self, scores: Grid, boxes: Grid) -> npt.NDArray[np.int64]:
        """The rows of faces that do not overlap one with a higher score, highest score first."""
        order = np.argsort(-scores, kind="stable")[:MAX_FACES]
        corners = boxes[order]
        sizes = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]])
        chosen = cv2.dnn.NMSBoxes(sizes.tolist(), scores[order].tolist(), 0.0, MAX_OVERLAP[self.spec.family])
        return np.asarray(order[np.asarray(chosen, np.int64).ravel()], np.int64)


@lru_cache(maxsize=64)
def _cells(rows: int, columns: int, anchors: int) -> Grid:
    """The column and row of each cell, (rows * columns * anchors, 2)."""
    y, x = np.mgrid[:rows, :columns]
    return np.repeat(np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64), anchors, axis=0)


def _open_any_size(weights: bytes, where: str) -> OnnxModel:
    """The model with open height and width if its graph runs that way, else as it is.

    OpenCV Zoo's YuNet declares 640 pixels, although nothing in it depends on that size.
    """
    declared = OnnxModel(weights, where)
    if not declared.inputs or not all(isinstance(n, int) for n in declared.inputs[0].shape[2:]):
        return declared
    import onnx

    model = onnx.load_from_string(weights)
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"side{axis}"
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    try:
        opened = OnnxModel(model.SerializeToString(), where)
        probe = np.zeros((1, 3, 64, 96), np.float32)
        sizes = [output.size for output in opened.run(probe)]
    except ModelError:
        return declared
    # The coarsest grid of such an image has 2 x 3 cells, with one number for each anchor.
    return opened if min(sizes) in {2 * 3 * anchors for anchors in ANCHORS.values()} else declared
