"""Scalar codecs: one number at a time, at fixed rates or at its entropy."""

from .deadzone import DeadZoneCodec
from .grid import GridCodec
from .lvq import LvqCodec
from .osq import OsqCodec, allocate_bits
from .resq import ResqCodec

__all__ = ["DeadZoneCodec", "GridCodec", "LvqCodec", "OsqCodec", "ResqCodec", "allocate_bits"]
