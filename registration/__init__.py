"""Poses of scans and splats in each other's frames."""

from .clouds import Cloud, as_cloud
from .manual import align_gravity, align_points, find_floor, metric_scale
from .multiscan import MultiRegistration, ScanPair, register_many
from .pairwise import register
from .result import Hypothesis, Registration

__all__ = [
    "Cloud",
    "Hypothesis",
    "MultiRegistration",
    "Registration",
    "ScanPair",
    "align_gravity",
    "align_points",
    "as_cloud",
    "find_floor",
    "metric_scale",
    "register",
    "register_many",
]
