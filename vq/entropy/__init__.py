"""Entropy coding: integers as bytes at their entropy, and how many bits that will be."""

from . import rans
from .adaptive import AdaptiveCodec
from .pcodec import PcodecCodec
from .rans import RansCodec
from .rate import order0_bits, rate

__all__ = ["AdaptiveCodec", "PcodecCodec", "RansCodec", "order0_bits", "rans", "rate"]
