"""Shape auto-encoders: five families of latents in one framework."""

from .autoencoder import Fields, ShapeAutoEncoder
from .batch import ShapeBatch, batch_of
from .bottlenecks import BOTTLENECKS, Squeezed
from .config import FAMILIES, ModelConfig
from .layouts import Layout, Part, layout_of

__all__ = [
    "BOTTLENECKS",
    "FAMILIES",
    "Fields",
    "Layout",
    "ModelConfig",
    "Part",
    "ShapeAutoEncoder",
    "ShapeBatch",
    "Squeezed",
    "batch_of",
    "layout_of",
]
