"""Tri-vector leaves of an octree: a radiance field without a network, drawn and trained on CPUs."""

from .field import TrivecField
from .octree import Octree
from .renderer import TrivecRenderer

__all__ = ["Octree", "TrivecField", "TrivecRenderer"]
