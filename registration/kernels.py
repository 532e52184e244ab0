"""Access to the native kernels of registration; without them every caller runs its NumPy twin."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType


@cache
def native_kernels() -> ModuleType | None:
    """The module `registration._native`, or None where it was not built."""
    try:
        return import_module("registration._native")
    except ModuleNotFoundError:
        return None
