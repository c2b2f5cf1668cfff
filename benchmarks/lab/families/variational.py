"""A variational autoencoder, drawn from the mixture that its codes form."""

from __future__ import annotations

import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from benchmarks.lab.families.base import Family, Labels, Pictures, Setup, descend

CODE = 64
# Weight of the divergence from the prior beside the squared error summed over pixels: pictures stay sharp.
BETA = 0.02
MIXTURE = 10


class Variational(Family):
    """Codes of 64 numbers (Kingma and Welling 2014, arXiv 1312.6114), drawn from a mixture of Gaussians fitted to the
    codes of the training pictures (Ghosh et al. 2020, arXiv 1903.12436)."""

    def __init__(self, images: Pictures, person: Labels, setup: Setup) -> None:
        super().__init__(images, person, setup)
        w, low = setup.width, setup.side // 8

        def down(a: int, b: int) -> list[nn.Module]:
            return [nn.Conv2d(a, b, 4, 2, 1), nn.GroupNorm(8, b), nn.SiLU()]

        def up(a: int, b: int) -> list[nn.Module]:
            return [nn.ConvTranspose2d(a, b, 4, 2, 1), nn.GroupNorm(8, b), nn.SiLU()]

        self.encoder = nn.Sequential(
            *down(3, w), *down(w, 2 * w), *down(2 * w, 4 * w), nn.Flatten(), nn.Linear(4 * w * low * low, 2 * CODE)
        ).to(self.device)
        self.decoder = nn.Sequential(
            *(nn.Linear(CODE, 4 * w * low * low), nn.Unflatten(1, (4 * w, low, low))),
            *(*up(4 * w, 2 * w), *up(2 * w, w), nn.ConvTranspose2d(w, 3, 4, 2, 1), nn.Tanh()),
        ).to(self.device)
        self.optimiser = torch.optim.AdamW(
            [*self.encoder.parameters(), *self.decoder.parameters()], lr=1e-3, weight_decay=1e-4
        )

    def step(self, progress: float) -> float:
        faces = self.mirrored(self.images[self.batch()])
        with self.half():
            mean, spread = self.encoder(faces).float().chunk(2, 1)
            spread = spread.clamp(-8, 4)
            made = self.decoder(mean + self.noise(*mean.shape) * (spread / 2).exp())
        error = (made.float() - faces).square().flatten(1).sum(1).mean()
        divergence = 0.5 * (mean.square() + spread.exp() - 1 - spread).sum(1).mean()
        loss = error + BETA * divergence
        descend(self.optimiser, loss)
        return float(loss.detach())

    @torch.no_grad()
    def draw(self, n: int) -> tuple[Tensor, None]:
        codes = self.encoder(self.images)[:, :CODE].cpu().numpy()
        seed = int(torch.randint(2**31, (1,), generator=self.random, device=self.device))
        # Fewer pictures than components fill would make each a single picture.
        mixture = GaussianMixture(min(MIXTURE, max(1, len(codes) // 20)), reg_covar=1e-3, random_state=seed).fit(codes)
        drawn = torch.from_numpy(mixture.sample(n)[0]).float().to(self.device)
        return self.decoder(drawn), None
