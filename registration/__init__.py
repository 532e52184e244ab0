"""Poses of scans and splats in each other's frames."""

from .multiscan import MultiRegistration, ScanPair, register_many

__all__ = ["MultiRegistration", "ScanPair", "register_many"]
