"""Shapes from a seed, with an exact inside: training data without a download."""

from .generator import KINDS, procedural_shape
from .primitives import Sdf
from .tessellation import procedural_samples, tessellated

__all__ = ["KINDS", "Sdf", "procedural_samples", "procedural_shape", "tessellated"]
