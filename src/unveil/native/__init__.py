"""The compiled comparison kernel, where there is one."""

from unveil.native.library import FLOAT16, FLOAT32, STATUS, Job, Kernel, Library, Packed, Vectors, load

__all__ = ["FLOAT16", "FLOAT32", "STATUS", "Job", "Kernel", "Library", "Packed", "Vectors", "load"]
