"""The compiled kernel, if there is one: comparisons, faces, arrangements, and memory of large arrays."""

from unveil.native.arrangements import add_arranged
from unveil.native.arrays import arrays_in_files, arrays_in_memory, bytes_in_files
from unveil.native.faces import FaceKernel, LandmarkModel, NativeImage, load_faces
from unveil.native.library import (
    FLOAT16,
    FLOAT32,
    MAX_RANKINGS,
    STATUS,
    Kernel,
    Library,
    NativeJob,
    NativePacked,
    NativeRanking,
    NativeVectors,
    load,
)

__all__ = [
    "FLOAT16",
    "FLOAT32",
    "MAX_RANKINGS",
    "STATUS",
    "FaceKernel",
    "Kernel",
    "LandmarkModel",
    "Library",
    "NativeImage",
    "NativeJob",
    "NativePacked",
    "NativeRanking",
    "NativeVectors",
    "add_arranged",
    "arrays_in_files",
    "arrays_in_memory",
    "bytes_in_files",
    "load",
    "load_faces",
]
