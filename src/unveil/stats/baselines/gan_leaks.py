"""GAN-Leaks: membership by the distance to the generated set, calibrated by a reference."""

from __future__ import annotations

from unveil.stats.baselines.base import Baseline, BaselineInputs
from unveil.stats.membership import auc_estimate
from unveil.types import Estimate, Floats


def calibrated_distance(to_generated: Floats, to_reference: Floats) -> Floats:
    """How much closer each real image (N,) is to the generated set than to a reference; higher suggests a member.

    GAN-Leaks calibrated: Chen et al. 2020, arXiv 1909.03935, L(x|G_v) - L(x|G_r) with the sign reversed. Their
    reference is a generator trained on other images; here it is other real images. Synth-MIA (Ward et al. 2025, arXiv
    2509.18014) calls the score with a reference of real records DCR-Diff.
    """
    return to_reference - to_generated


class GanLeaks(Baseline):
    """The AUC of the calibrated distance between training and held-out images."""

    name = "gan_leaks_auc"

    def measure(self, inputs: BaselineInputs) -> Estimate:
        """See `calibrated_distance`."""
        return auc_estimate(
            calibrated_distance(inputs.training_to_synthetic, inputs.training_to_reference),
            calibrated_distance(inputs.tested_to_synthetic, inputs.tested_to_reference),
            inputs.rng,
        )
