"""The compiled comparison kernel, if there is one."""

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
    "Kernel",
    "Library",
    "NativeJob",
    "NativePacked",
    "NativeRanking",
    "NativeVectors",
    "load",
]
