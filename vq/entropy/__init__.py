"""Entropy coding: integers as bytes at their entropy, and how many bits that will be."""

from . import rans
from .adaptive import AdaptiveCodec
from .plain import PcodecCodec, RawCodec
from .rans import RansCodec
from .rate import order0_bits, rate

__all__ = ["AdaptiveCodec", "PcodecCodec", "RansCodec", "RawCodec", "order0_bits", "rans", "rate"]
