"""Poses of scans and splats in each other's frames."""

from .clouds import Cloud, as_cloud
from .result import Hypothesis, Registration

__all__ = ["Cloud", "Hypothesis", "Registration", "as_cloud"]
