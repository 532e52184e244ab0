"""Differentiable rasterization of Gaussians on CPUs and GPUs."""

from .rasterization import rasterization

__all__ = ["rasterization"]
