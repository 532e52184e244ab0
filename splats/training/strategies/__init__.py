"""Densification: how the number and the places of the Gaussians change during training."""

from .default import DefaultConfig, DefaultStrategy
from .mcmc import McmcConfig, McmcStrategy
from .strategy import Refinement, StepInfo, Strategy

__all__ = [
    "DefaultConfig",
    "DefaultStrategy",
    "McmcConfig",
    "McmcStrategy",
    "Refinement",
    "StepInfo",
    "Strategy",
]
