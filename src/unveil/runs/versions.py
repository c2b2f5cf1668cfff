"""The versions of the software that can change a number of a result."""

from __future__ import annotations

import platform
from importlib.metadata import version

from unveil import __version__

LIBRARIES = ("numpy", "scipy", "onnxruntime", "pillow", "opencv-python-headless", "dlib-bin", "imagehash")


def software_versions() -> dict[str, str]:
    """The version of Python, of unveil, and of each of these libraries, by name."""
    libraries = {name: version(name) for name in LIBRARIES}
    return {"python": platform.python_version(), "unveil": __version__, **libraries}
