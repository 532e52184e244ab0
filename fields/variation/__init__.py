"""Discrete total variation with finite elements: denoising that keeps edges.

Reference: Herrmann, Herzog, Schmidt, Vidal-Núñez and Wachsmuth, "Discrete Total Variation with
Finite Elements and Applications to Imaging", arXiv:1804.07477.
"""

from .elements import Variation, cell_variation, face_variation, vertex_variation
from .solver import Denoised, denoise

__all__ = [
    "Denoised",
    "Variation",
    "cell_variation",
    "denoise",
    "face_variation",
    "vertex_variation",
]
