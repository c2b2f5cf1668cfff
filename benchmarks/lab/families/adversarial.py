"""A generator and a critic against each other."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.lab.families.base import Average, Family, Labels, Pictures, Setup, descend

CODE = 64
# Weight of the gradient penalty on real pictures, taken at every PENALTY_EVERY-th step.
PENALTY, PENALTY_EVERY = 1.0, 4


class Adversarial(Family):
    """A small convolutional GAN with the non-saturating loss and a penalty on the critic's gradient at real pictures
    (Mescheder et al. 2018, arXiv 1801.04406)."""

    def __init__(self, images: Pictures, person: Labels, setup: Setup) -> None:
        super().__init__(images, person, setup)
        # Two networks a step: half as wide as the others cost as much.
        w, low = setup.width // 2, setup.side // 8

        def up(a: int, b: int) -> list[nn.Module]:
            return [nn.Upsample(scale_factor=2.0), nn.Conv2d(a, b, 3, padding=1), nn.GroupNorm(8, b), nn.SiLU()]

        def down(a: int, b: int) -> list[nn.Module]:
            return [nn.Conv2d(a, b, 4, 2, 1), nn.LeakyReLU(0.2)]

        self.generator = nn.Sequential(
            *(nn.Linear(CODE, 4 * w * low * low), nn.Unflatten(1, (4 * w, low, low))),
            *(*up(4 * w, 4 * w), *up(4 * w, 2 * w), *up(2 * w, w), nn.Conv2d(w, 3, 3, padding=1), nn.Tanh()),
        ).to(self.device)
        self.critic = nn.Sequential(
            *(nn.Conv2d(3, w, 3, padding=1), nn.LeakyReLU(0.2)),
            *(*down(w, 2 * w), *down(2 * w, 4 * w), *down(4 * w, 4 * w)),
            *(nn.Flatten(), nn.Linear(4 * w * low * low, 1)),
        ).to(self.device)
        self.average = Average(self.generator)
        self.of_generator, self.of_critic = (
            torch.optim.Adam(net.parameters(), lr=4e-4, betas=(0.0, 0.99)) for net in (self.generator, self.critic)
        )
        self.steps = 0

    def step(self, progress: float) -> float:
        softplus = nn.functional.softplus
        real = self.mirrored(self.images[self.batch()])
        with self.half():
            made = self.generator(self.noise(len(real), CODE))
            judged_made, judged_real = self.critic(made.detach()).float(), self.critic(real).float()
        loss = softplus(judged_made).mean() + softplus(-judged_real).mean()
        if self.steps % PENALTY_EVERY == 0:
            seen = real.clone().requires_grad_(True)
            (slope,) = torch.autograd.grad(self.critic(seen).sum(), seen, create_graph=True)
            loss = loss + PENALTY_EVERY * PENALTY / 2 * slope.square().flatten(1).sum(1).mean()
        descend(self.of_critic, loss)
        with self.half():
            fooled = softplus(-self.critic(made).float()).mean()
        descend(self.of_generator, fooled)
        self.average.follow(self.generator)
        self.steps += 1
        return float(loss.detach())

    @torch.no_grad()
    def draw(self, n: int) -> tuple[Tensor, None]:
        return self.average.net(self.noise(n, CODE)), None
