"""What every family of generators does."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Pictures = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Setup:
    """How large a generator is and where it is trained: ``width`` channels, ``side`` pixels, ``batch`` pictures."""

    side: int = 32
    width: int = 48
    batch: int = 64
    device: str = "cpu"
    seed: int = 0


class Family(ABC):
    """One generator: trained on pictures (N, S, S, 3) of people (N,), asked for faces. ``side`` is its usual S."""

    side = Setup.side

    def __init__(self, images: Pictures, person: Labels, setup: Setup) -> None:
        torch.manual_seed(setup.seed)
        self.setup = setup
        self.device = torch.device(setup.device)
        self.images = torch.from_numpy(images).permute(0, 3, 1, 2).float().div(127.5).sub(1).to(self.device)
        self.person = torch.from_numpy(np.unique(person, return_inverse=True)[1].astype(np.int64)).to(self.device)
        self.random = torch.Generator(device=self.device).manual_seed(setup.seed)

    @abstractmethod
    def step(self, progress: float) -> float:
        """One step of training, ``progress`` of the way; the loss."""

    @abstractmethod
    def draw(self, n: int) -> tuple[Tensor, Tensor | None]:
        """Faces (n, 3, S, S) in -1 to 1, and whom each was asked to be (n,), for families that are asked."""

    def train(self, lengths: tuple[int, ...]) -> Iterator[tuple[int, float]]:
        """Trains, and stops at each length (steps, ascending) to be asked for faces."""
        loss = 0.0
        for done in range(1, lengths[-1] + 1):
            value = self.step(done / lengths[-1])
            loss = value if done == 1 else 0.98 * loss + 0.02 * value
            if done in lengths:
                yield done, loss

    def faces(self, n: int) -> tuple[Pictures, list[int] | None]:
        """Faces (n, S, S, 3) uint8."""
        blocks: list[Tensor] = []
        labels: list[int] = []
        for start in range(0, n, 250):
            faces, asked = self.draw(min(250, n - start))
            blocks.append(
                faces.float().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu()
            )
            labels += [] if asked is None else asked.tolist()
        return torch.cat(blocks).numpy(), labels or None

    def batch(self) -> Tensor:
        """Rows of a random batch."""
        return torch.randint(len(self.images), (self.setup.batch,), generator=self.random, device=self.device)

    def noise(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.random, device=self.device)

    def mirrored(self, faces: Tensor) -> Tensor:
        """Faces, each mirrored with even odds, as generators of faces are commonly trained."""
        turn = torch.rand(len(faces), 1, 1, 1, generator=self.random, device=self.device) < 0.5
        return torch.where(turn, faces.flip(3), faces)

    def half(self) -> torch.autocast:
        """Half precision where the processor multiplies it."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


def descend(optimiser: torch.optim.Optimizer, loss: Tensor, network: nn.Module | None = None) -> None:
    """One step down the loss; the gradient of ``network`` is kept from growing large."""
    optimiser.zero_grad()
    torch.autograd.backward(loss)
    if network is not None:
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()


class Average:
    """A copy of a network whose weights follow it slowly."""

    def __init__(self, net: nn.Module) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self._steps = 0

    @torch.no_grad()
    def follow(self, net: nn.Module, keep: float = 0.995) -> None:
        self._steps += 1
        # Early on the copy follows faster, or it would still be the untrained network.
        keep = min(keep, self._steps / (self._steps + 10))
        torch._foreach_lerp_(list(self.net.parameters()), list(net.parameters()), 1 - keep)
