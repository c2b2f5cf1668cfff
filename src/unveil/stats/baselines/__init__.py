"""Baselines: measures of other authors by their own definitions, one file each."""

from unveil.stats.baselines.authenticity import Authenticity
from unveil.stats.baselines.base import Baseline, BaselineInputs
from unveil.stats.baselines.closer_to_training import CloserToTraining
from unveil.stats.baselines.data_copying import DataCopying
from unveil.stats.baselines.gan_leaks import GanLeaks
from unveil.stats.baselines.likelihood_gap import LikelihoodGap
from unveil.stats.baselines.memorisation import MemorisedImages
from unveil.stats.baselines.neighbour_ratio import NeighbourRatio

__all__ = ["BASELINES", "Baseline", "BaselineInputs"]

BASELINES: tuple[Baseline, ...] = (
    Authenticity(),
    DataCopying(),
    CloserToTraining(),
    NeighbourRatio(),
    GanLeaks(),
    LikelihoodGap(),
    MemorisedImages(),
)
