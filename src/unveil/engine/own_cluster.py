"""Protection of a cluster that this process starts.

Whoever reaches a Ray cluster can run code on it. So ours listens on the loopback address alone, and takes no command
without a token that exists in this process and its workers only.
"""

from __future__ import annotations

import os
import secrets
from types import TracebackType
from typing import Any

import ray

from unveil.errors import EngineError

# Ray reads these in its processes: the token, and whether a cluster of this machine alone uses the loopback address.
MODE, TOKEN, CLUSTERS = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


class OwnCluster:
    """Settings of Ray for the time in which this process has a cluster of its own.

    Raises EngineError for a version of Ray that knows no tokens.
    """

    def __enter__(self) -> OwnCluster:
        try:
            from ray import _raylet
            from ray._private import ray_constants

            # Ray states no types for these.
            raylet: Any = _raylet
            self._constants: Any = ray_constants
            self._loader, self._config = raylet.AuthenticationTokenLoader.instance(), raylet.Config
            self._listens = ray_constants.ENABLE_RAY_CLUSTER
            self._loader.reset_cache()
        except (ImportError, AttributeError):
            raise EngineError(
                f"--engine ray: expected a version of Ray with token authentication, found {ray.__version__}, on whose "
                "clusters anybody can run code. Install a newer one: pip install 'unveil[cluster]'"
            ) from None
        self._before = {name: os.environ.get(name) for name in (MODE, TOKEN, CLUSTERS)}
        os.environ |= {MODE: "token", TOKEN: secrets.token_hex(32), CLUSTERS: "0"}
        self._refresh(listens=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._refresh(listens=self._listens)

    def _refresh(self, *, listens: bool) -> None:
        """Makes this process, which has imported Ray already, read the variables again."""
        self._constants.ENABLE_RAY_CLUSTER = listens
        self._loader.reset_cache()
        self._config.initialize("")
