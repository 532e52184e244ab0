"""Where rays are sampled, whatever the field."""

from .bricks import BrickGrid
from .occupancy import OccupancyGrid
from .proposal import ProposalSampler, resample
from .uniform import UniformSampler

__all__ = ["BrickGrid", "OccupancyGrid", "ProposalSampler", "UniformSampler", "resample"]
