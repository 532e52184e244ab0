"""Gaussian splats: parameters, spherical harmonics and differentiable rasterization."""

from .gaussians import Gaussians
from .rasterizer import rasterization

__all__ = ["Gaussians", "rasterization"]
