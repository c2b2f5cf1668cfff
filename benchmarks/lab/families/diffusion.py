"""Diffusion, whatever it runs in: noise is added by a cosine schedule, its velocity is learnt, and faces are drawn in
deterministic steps (Ho et al. 2020, arXiv 2006.11239; Salimans and Ho 2022, arXiv 2202.00512; Song et al. 2021, arXiv
2010.02502)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

STEPS = 40


def signal_and_noise(time: Tensor, dimensions: int) -> tuple[Tensor, Tensor]:
    """How much of the picture and of the noise there is at a time in 0 to 1, shaped for so many dimensions."""
    angle = time.mul(torch.pi / 2).view(-1, *[1] * (dimensions - 1))
    return angle.cos(), angle.sin()


def velocity_loss(predict: Callable[[Tensor, Tensor], Tensor], clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    a, s = signal_and_noise(time, clean.dim())
    return nn.functional.mse_loss(predict(a * clean + s * noise, time).float(), a * noise - s * clean)


@torch.no_grad()
def sample(predict: Callable[[Tensor, Tensor], Tensor], noise: Tensor, limit: float | None = None) -> Tensor:
    """From noise to pictures, deterministically; ``limit`` clips what is thought to be the picture."""
    x = noise
    times = torch.linspace(0.999, 0, STEPS + 1, device=x.device)
    for now, then in pairwise(times):
        time = now.expand(len(x))
        a, s = signal_and_noise(time, x.dim())
        velocity = predict(x, time).float()
        clean = a * x - s * velocity
        if limit is not None:
            clean = clean.clamp(-limit, limit)
        rest = (x - a * clean) / s
        a, s = signal_and_noise(then.expand(len(x)), x.dim())
        x = a * clean + s * rest
    return x


class Time(nn.Module):
    """A time in 0 to 1 as waves."""

    waves: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("waves", torch.exp(torch.linspace(0, 7, width // 2)))

    def forward(self, time: Tensor) -> Tensor:
        angle = time[:, None] * self.waves
        return torch.cat([angle.sin(), angle.cos()], 1)
