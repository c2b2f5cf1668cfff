"""Diffusion in the code of a small autoencoder, as large generators of faces are built."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.lab.families.base import Average, Family, Labels, Pictures, Setup, descend
from benchmarks.lab.families.diffusion import sample, velocity_loss
from benchmarks.lab.families.pixels import UNet

# A code has 4 numbers for each square of 4 x 4 pixels: a twelfth of the image.
SQUARE, CHANNELS = 4, 4
# Steps of the autoencoder, which is finished before the diffusion begins.
AUTOENCODER_STEPS = 400
# Standardised codes further out than this are not drawn.
LIMIT = 5.0


class Latent(Family):
    """An autoencoder, and a U-Net that diffuses its codes, both trained on the same people (Rombach et al. 2022, arXiv
    2112.10752). Codes are standardised instead of drawn towards a prior."""

    side = 64

    def __init__(self, images: Pictures, person: Labels, setup: Setup) -> None:
        super().__init__(images, person, setup)
        self.encoder, self.decoder = encoder(setup.width).to(self.device), decoder(setup.width).to(self.device)
        self._train_autoencoder()
        codes = torch.cat([self._encoded(self.images[i : i + 250]) for i in range(0, len(self.images), 250)])
        self.mean, self.spread = codes.mean((0, 2, 3), keepdim=True), codes.std((0, 2, 3), keepdim=True)
        self.net = UNet(setup.width, channels=CHANNELS).to(self.device)
        self.average = Average(self.net)
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=1e-3, weight_decay=1e-4)

    def _train_autoencoder(self) -> None:
        weights = [*self.encoder.parameters(), *self.decoder.parameters()]
        optimiser = torch.optim.AdamW(weights, lr=2e-3, weight_decay=1e-4)
        for _ in range(AUTOENCODER_STEPS):
            faces = self.mirrored(self.images[self.batch()])
            with self.half():
                made = self.decoder(self.encoder(faces))
            descend(optimiser, nn.functional.mse_loss(made.float(), faces))

    @torch.no_grad()
    def _encoded(self, faces: Tensor) -> Tensor:
        with self.half():
            codes: Tensor = self.encoder(faces)
        return codes.float()

    def step(self, progress: float) -> float:
        clean = (self._encoded(self.mirrored(self.images[self.batch()])) - self.mean) / self.spread
        time = torch.rand(len(clean), generator=self.random, device=self.device)
        with self.half():
            loss = velocity_loss(self.net, clean, self.noise(*clean.shape), time)
        descend(self.optimiser, loss, self.net)
        self.average.follow(self.net)
        return float(loss.detach())

    @torch.no_grad()
    def draw(self, n: int) -> tuple[Tensor, None]:
        low = self.setup.side // SQUARE
        with self.half():
            codes = sample(self.average.net, self.noise(n, CHANNELS, low, low), limit=LIMIT)
            return self.decoder(codes * self.spread + self.mean), None


def encoder(width: int) -> nn.Sequential:
    """From images (N, 3, S, S) to codes (N, CHANNELS, S / SQUARE, S / SQUARE)."""
    return nn.Sequential(
        *(nn.PixelUnshuffle(SQUARE), nn.Conv2d(3 * SQUARE**2, width, 3, padding=1), nn.SiLU()),
        *(nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, CHANNELS, 1)),
    )


def decoder(width: int) -> nn.Sequential:
    """From codes back to images."""
    return nn.Sequential(
        *(nn.Conv2d(CHANNELS, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1), nn.SiLU()),
        *(nn.Conv2d(width, width, 3, padding=1), nn.SiLU()),
        *(nn.Conv2d(width, 3 * SQUARE**2, 1), nn.PixelShuffle(SQUARE)),
    )
