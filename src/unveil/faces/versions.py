"""The versions of the libraries that decode, detect, align and resize images."""

from __future__ import annotations

from functools import cache

import cv2
import PIL


@cache
def library_versions() -> str:
    """OpenCV, Pillow and dlib with their versions, as part of the recipe of a store."""
    import dlib

    return f"opencv {cv2.__version__} pillow {PIL.__version__} dlib {dlib.__version__}"
