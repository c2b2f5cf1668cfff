"""Diffusion in the space of face components: quick, and linear in pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.lab.families.base import Average, Family, Labels, Pictures, Setup, descend
from benchmarks.lab.families.diffusion import Time, sample, velocity_loss

COMPONENTS = 192
WIDTH = 512


class Components(Family):
    """Faces as 192 components of the training pictures, each of variance 1, drawn by a small network."""

    def __init__(self, images: Pictures, person: Labels, setup: Setup) -> None:
        super().__init__(images, person, setup)
        flat = self.images.flatten(1).double()
        self.mean = flat.mean(0)
        _, _, rows = torch.linalg.svd(flat - self.mean, full_matrices=False)
        self.rows = rows[: min(COMPONENTS, len(flat) - 1)]
        components = (flat - self.mean) @ self.rows.T
        self.scale = components.std(0).clamp_min(1e-6)
        self.components = (components / self.scale).float()
        self.net = Denoiser(self.components.shape[1], WIDTH).to(self.device)
        self.average = Average(self.net)
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=1e-3, weight_decay=1e-4)

    def step(self, progress: float) -> float:
        clean = self.components[self.batch()]
        time = torch.rand(len(clean), generator=self.random, device=self.device)
        loss = velocity_loss(self.net, clean, self.noise(*clean.shape), time)
        descend(self.optimiser, loss)
        self.average.follow(self.net)
        return float(loss.detach())

    def draw(self, n: int) -> tuple[Tensor, None]:
        drawn = sample(self.average.net, self.noise(n, self.components.shape[1]))
        flat = (drawn.double() * self.scale) @ self.rows + self.mean
        return flat.view(n, *self.images.shape[1:]), None


class Denoiser(nn.Module):
    def __init__(self, dimension: int, width: int) -> None:
        super().__init__()
        self.time = nn.Sequential(Time(64), nn.Linear(64, width), nn.SiLU())
        self.first = nn.Linear(dimension, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(3)
        )
        self.last = nn.Linear(width, dimension)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        told = self.time(time)
        h = self.first(x)
        for block in self.blocks:
            h = h + block(h + told)
        out: Tensor = self.last(h)
        return out
