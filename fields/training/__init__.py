"""What all fields share while they are trained from photos."""

from .batches import Batch, RayBatches, random_background
from .hull import Hull, carve

__all__ = ["Batch", "Hull", "RayBatches", "carve", "random_background"]
