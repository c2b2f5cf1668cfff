"""Puts the weights that deepface would download where it looks for them. Run by `make bench-embed` in its environment.

python benchmarks/deepface_weights.py ../shared/data
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path


def main() -> None:
    weights = Path.home() / ".deepface/weights"
    weights.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(sys.argv[1]) / "models/yunet/face_detection_yunet_2023mar.onnx", weights)
    # The default network's weights are in a package that is installed beside the benchmark.
    code = "from unveil.faces.dlib_onnx import WEIGHTS, package_file; print(package_file(WEIGHTS))"
    found = subprocess.run([".venv/bin/python", "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    shutil.copy(found.stdout.strip(), weights)


if __name__ == "__main__":
    main()
