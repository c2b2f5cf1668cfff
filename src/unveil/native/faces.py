"""Loads the compiled code for faces: landmarks, crops, and tensors of crops. Structures mirror src/faces.h."""

from __future__ import annotations

import ctypes
import functools
import weakref
from collections.abc import Callable, Sequence
from ctypes import POINTER, byref, c_char_p, c_int32, c_int64, c_void_p

from unveil.native import library

FACES_VERSION = 2


class NativeImage(ctypes.Structure):
    """RGB pixels, three bytes each: address, rows, columns, bytes from row to row."""

    _fields_ = (("pixels", c_void_p), ("height", c_int64), ("width", c_int64), ("stride", c_int64))


_Box = c_int32 * 4


class LandmarkModel:
    """A landmark model of dlib in the memory of the library, with its number of landmarks ``parts``."""

    def __init__(self, address: int, parts: int, free: Callable[[int], None]) -> None:
        self.address, self.parts = address, parts
        weakref.finalize(self, free, address)


class FaceKernel:
    """The compiled code for faces. Arrays are passed as addresses. Calls release the GIL.

    ``plain`` avoids the processor's vector instructions: the results are the same to the last bit.
    Raises OSError for a file that is not the library of this version.
    """

    def __init__(self, path: str) -> None:
        c = ctypes.CDLL(path)
        try:
            version = c.unveil_faces_version()
            self._read, self._free = c.unveil_read_landmark_model, c.unveil_free_landmark_model
            self._landmarks, self._chip, self._planes = c.unveil_landmarks, c.unveil_face_chip, c.unveil_planes
        except AttributeError:
            raise OSError(f"{path} has no functions for faces") from None
        if version != FACES_VERSION:
            raise OSError(f"{path} was built for another version of unveil; install unveil again")
        self._read.restype, self._read.argtypes = c_void_p, (c_char_p, c_int64, POINTER(c_int32))
        self._free.restype, self._free.argtypes = None, (c_void_p,)
        self._landmarks.restype = None
        self._landmarks.argtypes = (c_void_p, c_int64, POINTER(NativeImage), POINTER(_Box), c_int32, c_void_p)
        self._chip.argtypes = (POINTER(NativeImage), c_void_p, c_int32, c_int32, c_void_p)
        self._planes.restype = None
        self._planes.argtypes = (c_void_p, c_int64, c_int64, c_int32, c_void_p, c_void_p, c_void_p)

    def read_landmark_model(self, file: bytes) -> LandmarkModel | None:
        """The model in the bytes of a file of dlib's ``shape_predictor``; None for any other file."""
        parts = c_int32()
        address = self._read(file, len(file), byref(parts))
        return LandmarkModel(address, parts.value, self._free) if address else None

    def landmarks(
        self,
        model: LandmarkModel,
        images: Sequence[NativeImage],
        boxes: Sequence[tuple[int, int, int, int]],
        out: int,
        plain: bool = False,
    ) -> None:
        """Landmarks (n, parts, 2) float64, whole numbers, of one face in each of n images.

        Boxes are (left, top, right, bottom) in int32. 16 images together take half the time of 16 calls.
        """
        n = len(images)
        self._landmarks(
            model.address, n, (NativeImage * n)(*images), (_Box * n)(*(_Box(*box) for box in boxes)), plain, out
        )

    def face_chip(self, image: NativeImage, points: int, size: int, out: int, plain: bool = False) -> bool:
        """dlib's crop (size, size, 3) uint8 by landmarks (5, 2) float64; False for a rare case that is left to dlib."""
        return int(self._chip(byref(image), points, size, plain, out)) == 0

    def planes(self, crops: int, n: int, pixels: int, reverse: bool, mean: int, scale: int, out: int) -> None:
        """Crops (n, pixels, 3) uint8 as planes (n, 3, pixels) float32: (value - mean) * scale, for each channel.

        ``mean`` and ``scale`` (3,) float32 are in the order of the planes, which is reversed with ``reverse``.
        """
        self._planes(crops, n, pixels, reverse, mean, scale, out)


@functools.cache
def load_faces() -> FaceKernel | None:
    """The compiled code for faces, or None where the library is not compiled, or was built for another version."""
    try:
        return FaceKernel(str(library.HERE / library.FILE_NAME))
    except OSError:
        return None
