"""Access to the kernels of registration: native ones, or the NumPy twins that define them."""

from __future__ import annotations

import logging
from functools import cache
from importlib import import_module
from types import ModuleType

_logger = logging.getLogger(__name__)


@cache
def native_kernels() -> ModuleType | None:
    """The module `registration._native`, or None where it was not built."""
    try:
        return import_module("registration._native")
    except ModuleNotFoundError:
        return None


@cache
def kernels() -> ModuleType:
    """The native module, or `registration.reference`, which has the same names and is slow."""
    native = native_kernels()
    if native is not None:
        return native
    _logger.warning(
        "registration runs on its NumPy reference, some fifty times slower: the native kernels "
        "were not built; install a C++ compiler and reinstall."
    )
    return import_module("registration.reference")
