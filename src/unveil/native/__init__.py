"""The compiled comparison kernel, if there is one."""

from unveil.native.library import (
    FLOAT16,
    FLOAT32,
    STATUS,
    Kernel,
    Library,
    NativeJob,
    NativePacked,
    NativeVectors,
    load,
)

__all__ = ["FLOAT16", "FLOAT32", "STATUS", "Kernel", "Library", "NativeJob", "NativePacked", "NativeVectors", "load"]
