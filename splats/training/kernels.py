"""Access to the native kernels of training; without them every caller runs its torch twin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor


@cache
def native_kernels() -> ModuleType | None:
    """The module `splats._native`, or None where it was not built."""
    try:
        return import_module("splats._native")
    except ModuleNotFoundError:
        return None


def native_kernels_for(*tensors: Tensor) -> ModuleType | None:
    """The native kernels if they were built and can take all `tensors`: float32 on the CPU."""
    fits = all(item.device.type == "cpu" and item.dtype == torch.float32 for item in tensors)
    return native_kernels() if fits else None


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Runs torch's own operations on the calling thread while the block lasts.

    Beside native kernels, which have threads of their own, torch is left with operations of some
    ten microseconds, and waking its threads costs more than they save.
    """
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)
