"""Entropy coding: integers as bytes at their entropy, and how many bits that will be."""

from . import rans
from .rans import RansCodec
from .rate import order0_bits, rate

__all__ = ["RansCodec", "order0_bits", "rans", "rate"]
