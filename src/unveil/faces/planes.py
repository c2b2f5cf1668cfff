"""Crops as the input tensor of a model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from unveil import native

Tensor = npt.NDArray[np.float32]


def normalised_planes(crops: npt.NDArray[np.uint8], channels: str, mean: Tensor, scale: Tensor, out: Tensor) -> None:
    """Writes crops (N, S, S, 3) uint8 RGB to ``out`` (N, 3, S, S) float32: (value - mean) * scale.

    ``channels`` is RGB or BGR, the order of the planes, of ``mean`` (3,) and of ``scale`` (3,), both float32.
    """
    kernel = native.load_faces()
    if kernel is None or not out.flags.c_contiguous:
        planes_by_numpy(crops, channels, mean, scale, out)
        return
    n, height, width = crops.shape[:3]
    source = np.ascontiguousarray(crops)
    mean, scale = np.ascontiguousarray(mean), np.ascontiguousarray(scale)
    kernel.planes(
        source.ctypes.data,
        n,
        height * width,
        channels == "BGR",
        mean.ctypes.data,
        scale.ctypes.data,
        out.ctypes.data,
    )


def planes_by_numpy(crops: npt.NDArray[np.uint8], channels: str, mean: Tensor, scale: Tensor, out: Tensor) -> None:
    """`normalised_planes` by NumPy: the same bits."""
    ordered = crops if channels == "RGB" else crops[..., ::-1]
    # Plane by plane: a third of the time of a transposition.
    for plane in range(3):
        np.subtract(ordered[..., plane], mean[plane], out=out[:, plane], dtype=np.float32)
        out[:, plane] *= scale[plane]
