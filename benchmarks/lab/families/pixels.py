"""Diffusion on pixels by a small U-Net, asked for anybody or for a person it was trained on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.lab.families.base import Average, Family, Labels, Pictures, Setup, descend
from benchmarks.lab.families.diffusion import Time, sample, velocity_loss


class Pixels(Family):
    """A U-Net that knows no people; pictures are mirrored at random."""

    conditioned = False
    mirrors = True

    def __init__(self, images: Pictures, person: Labels, setup: Setup) -> None:
        super().__init__(images, person, setup)
        n_people = int(self.person.max()) + 1 if self.conditioned else 0
        self.net = UNet(setup.width, n_people).to(self.device)
        self.average = Average(self.net)
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=1e-3, weight_decay=1e-4)

    def step(self, progress: float) -> float:
        rows = self.batch()
        clean = self.mirrored(self.images[rows]) if self.mirrors else self.images[rows]
        people = self.person[rows] if self.conditioned else None
        time = torch.rand(len(clean), generator=self.random, device=self.device)
        for group in self.optimiser.param_groups:
            group["lr"] = 1e-3 * min(1.0, 10 * progress + 0.1)
        with self.half():
            loss = velocity_loss(lambda x, t: self.net(x, t, people), clean, self.noise(*clean.shape), time)
        descend(self.optimiser, loss, self.net)
        self.average.follow(self.net)
        return float(loss.detach())

    def draw(self, n: int) -> tuple[Tensor, Tensor | None]:
        people = None
        if self.conditioned:
            people = torch.randint(int(self.person.max()) + 1, (n,), generator=self.random, device=self.device)
        with self.half():
            drawn = sample(
                lambda x, t: self.average.net(x, t, people), self.noise(n, *self.images.shape[1:]), limit=1.0
            )
        return drawn, people


class Conditional(Pixels):
    """A U-Net that is told whom to draw; its set has an identity for each person it was trained on."""

    conditioned = True
    mirrors = False


class Block(nn.Module):
    """Two convolutions, told the time (and person) between them."""

    def __init__(self, before: int, after: int, told: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(8, before), nn.SiLU(), nn.Conv2d(before, after, 3, padding=1))
        self.told = nn.Linear(told, after)
        self.second = nn.Sequential(nn.GroupNorm(8, after), nn.SiLU(), nn.Conv2d(after, after, 3, padding=1))
        self.skip = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        h = self.first(x) + self.told(told)[:, :, None, None]
        out: Tensor = self.skip(x) + self.second(h)
        return out


class UNet(nn.Module):
    """Three resolutions, joined across; the first sees squares of 2 x 2 places of ``channels`` numbers as one."""

    def __init__(self, width: int, n_people: int = 0, channels: int = 3) -> None:
        super().__init__()
        told = 4 * width
        self.time = nn.Sequential(Time(64), nn.Linear(64, told), nn.SiLU(), nn.Linear(told, told))
        self.people = nn.Embedding(n_people, told) if n_people else None
        w1, w2, w3 = width, 2 * width, 3 * width
        self.enter = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, w1, 3, padding=1))
        self.down1, self.down2 = Block(w1, w1, told), Block(w1, w2, told)
        self.middle1, self.middle2 = Block(w2, w3, told), Block(w3, w3, told)
        self.up2, self.up1 = Block(w3 + w2, w2, told), Block(w2 + w1, w1, told)
        self.leave = nn.Sequential(
            *(nn.GroupNorm(8, w1), nn.SiLU(), nn.Conv2d(w1, 4 * channels, 3, padding=1), nn.PixelShuffle(2))
        )

    def forward(self, x: Tensor, time: Tensor, people: Tensor | None = None) -> Tensor:
        told = self.time(time)
        if self.people is not None:
            told = told + self.people(people)
        told = nn.functional.silu(told)
        a = self.down1(self.enter(x), told)
        b = self.down2(nn.functional.avg_pool2d(a, 2), told)
        c = self.middle2(self.middle1(nn.functional.avg_pool2d(b, 2), told), told)
        b = self.up2(torch.cat([nn.functional.interpolate(c, scale_factor=2.0), b], 1), told)
        a = self.up1(torch.cat([nn.functional.interpolate(b, scale_factor=2.0), a], 1), told)
        out: Tensor = self.leave(a)
        return out
