"""Radiance fields: one contract, samplers, a volume renderer, and the fields themselves."""

from .contract import Field, RayRenderer
from .kernels import composite
from .rays import Rays, camera_rays, pixel_rays
from .samples import Samples
from .scene import FieldScene
from .volume import RayColors

__all__ = [
    "Field",
    "FieldScene",
    "RayColors",
    "RayRenderer",
    "Rays",
    "Samples",
    "camera_rays",
    "composite",
    "pixel_rays",
]
