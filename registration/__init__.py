"""Poses of scans and splats in each other's frames."""

from .clouds import Cloud, as_cloud
from .multiscan import MultiRegistration, ScanPair, register_many
from .result import Hypothesis, Registration

__all__ = [
    "Cloud",
    "Hypothesis",
    "MultiRegistration",
    "Registration",
    "ScanPair",
    "as_cloud",
    "register_many",
]
