"""Splats, meshes and fields into each other, with measured losses."""

from .convert import Across, Crossing, convert_across
from .kinds import KINDS, Kind, kind_of_file, kind_of_target
from .loss import Loss

__all__ = [
    "KINDS",
    "Across",
    "Crossing",
    "Kind",
    "Loss",
    "convert_across",
    "kind_of_file",
    "kind_of_target",
]
