"""Strivec: local tensors of several extents along the content of a scene."""

from .config import StrivecConfig
from .field import StrivecField
from .method import StrivecMethod

__all__ = ["StrivecConfig", "StrivecField", "StrivecMethod"]
