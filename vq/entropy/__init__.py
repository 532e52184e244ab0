"""Entropy coding: integers as bytes at their entropy, and how many bits that will be."""

from . import rans
from .rans import RansCodec

__all__ = ["RansCodec", "rans"]
