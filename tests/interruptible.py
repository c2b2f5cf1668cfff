"""An audit in small parts, which can end its own process at a chosen moment.

Shards, panels, slabs and the time between checkpoints are small, so that a small audit has every kind of moment. As a
program (``python -m tests.interruptible ARGUMENTS``) it takes the arguments of `run` as JSON.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import sys
from dataclasses import dataclass, field, replace

from unveil.auditor import WorkSizes, run_audit
from unveil.channels import FaceImage
from unveil.compare import BackendSizes
from unveil.config.parsing import settings_from
from unveil.embedding.pipeline import ImagePreprocessor, PipelineSizes

IMAGES_PER_SHARD, PANEL_ROWS = 16, 8
# Pairs of a tile, at most: a kernel compares a panel with at least as many gallery rows as it is wide.
TILE = PANEL_ROWS * 64
SIZES = WorkSizes(
    PipelineSizes(images_per_shard=IMAGES_PER_SHARD, min_images_per_chunk=1),
    BackendSizes(PANEL_ROWS, block_rows=32, slab_bytes=1 << 12),
    checkpoint_seconds=0,
)


@dataclass
class Stages:
    """The progress of an audit: the size of each stage, and how much of it was done at its first report.

    Ends the process when the part ``share`` of stage ``kill_in`` is done.
    """

    kill_in: str | None = None
    share: float = 0.0
    total: dict[str, int] = field(default_factory=dict)
    first: dict[str, int] = field(default_factory=dict)
    _stage: str = ""
    _done: int = 0

    def start(self, stage: str, total: int, unit: str) -> None:
        self._stage, self._done = stage, 0
        self.total[stage] = total

    def advance(self, n: int) -> None:
        if n and self._stage not in self.first:
            self.first[self._stage] = n
            logging.getLogger("unveil").info("%s: begins with %d of %d", self._stage, n, self.total[self._stage])
        self._done += n
        if self._stage == self.kill_in and self._done >= self.share * self.total[self._stage]:
            os.kill(os.getpid(), signal.SIGKILL)

    def workers(self, n: int, retries: int) -> None: ...

    def expect(self, units: object) -> None: ...


def run(
    sources: list[str],
    out: str,
    store: str,
    *,
    kill_in: str | None = None,
    share: float = 0.0,
    aligned: str = "yes",
    in_files: bool = True,
) -> Stages:
    """Runs the audit of these synthetic, training and control images, or a part of it.

    With ``in_files``, arrays lie in files as those of millions of images do, which changes no byte of the run.
    """
    stages = Stages(kill_in, share)
    values = {
        **dict(zip(("synthetic", "training", "control"), sources, strict=True)),
        **{"out": out, "store": store, "planted_leaks": "quick", "aligned": aligned},
    }
    run_audit(settings_from(values), stages, sizes=replace(SIZES, large_set=1, large_array=4096) if in_files else SIZES)
    return stages


class CrashingPreprocessor(ImagePreprocessor):
    """Ends the process as a crash of the decoder would: no except catches it."""

    crashes_at = ""  # the SHA-256 of an image

    def decode(self, data: bytes) -> FaceImage:
        if hashlib.sha256(data).hexdigest() == self.crashes_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().decode(data)


def main() -> None:
    arguments = json.loads(sys.argv[1])
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    logging.getLogger("unveil").setLevel(logging.INFO)
    if (digest := arguments.pop("crashes_at", None)) is not None:
        from unveil.embedding import embedder

        CrashingPreprocessor.crashes_at = digest
        embedder.ImagePreprocessor = CrashingPreprocessor  # type: ignore[attr-defined]
    if (seconds := arguments.pop("cpu_seconds", None)) is not None:
        # Nothing handles SIGPROF: it ends the process at once, however busy the machine is.
        signal.setitimer(signal.ITIMER_PROF, seconds)
    run(**arguments)


if __name__ == "__main__":
    main()
