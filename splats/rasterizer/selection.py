"""Which backend runs a call."""

from __future__ import annotations

import logging
from functools import cache
from importlib.util import find_spec
from typing import Literal, get_args

import torch
from torch import Tensor

from .backend import Backend

BackendName = Literal["auto", "cpu", "gsplat", "reference"]

_logger = logging.getLogger(__name__)


def choose_backend(name: BackendName, means: Tensor) -> Literal["cpu", "gsplat", "reference"]:
    """The backend for the device and dtype of `means`.

    `auto` takes gsplat for CUDA tensors and the native kernels for CPU tensors; where those were
    not built it takes the reference and says so once in the log.

    Raises:
        ValueError: for an unknown name, or a backend that cannot run these tensors.
    """
    if name not in get_args(BackendName):
        expected = ", ".join(repr(choice) for choice in get_args(BackendName))
        raise ValueError(f"`backend` must be one of {expected}, got {name!r}.")
    device = means.device.type
    if name == "auto":
        if device == "cuda":
            name = "gsplat"
        elif device == "cpu":
            name = "cpu" if _native_is_built() else "reference"
        else:
            raise ValueError(
                f"`backend` 'auto' knows CPU and CUDA tensors, got tensors on {means.device}; "
                f"move them, or pass backend='reference'."
            )
    needed = {"cpu": "cpu", "gsplat": "cuda"}.get(name, device)
    if device != needed:
        raise ValueError(
            f"`backend` {name!r} needs tensors on {needed!r}, got {device!r}; "
            f"move them or pass backend='auto'."
        )
    if name != "reference" and means.dtype != torch.float32:
        raise ValueError(
            f"`means` must be torch.float32 for backend {name!r}, got {means.dtype}; "
            f"convert every tensor, or pass backend='reference'."
        )
    return name


@cache
def load_backend(name: Literal["cpu", "reference"]) -> Backend:
    """The one instance of a backend that runs in this process."""
    if name == "cpu":
        from .cpu import CpuBackend

        return CpuBackend()
    from .reference import ReferenceBackend

    return ReferenceBackend()


@cache
def _native_is_built() -> bool:
    built = find_spec("splats._native") is not None
    if not built:
        _logger.warning(
            "The native CPU kernels are not built, so splats are rendered by the slow torch "
            "reference. Install a C++ compiler and reinstall fieldwright to build them."
        )
    return built
