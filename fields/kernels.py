"""Access to the native kernels; without them every caller runs its torch twin."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from . import volume
from .samples import Samples
from .volume import RayColors


@cache
def native_kernels() -> ModuleType | None:
    """The module `fields._native`, or None where it was not built."""
    try:
        return import_module("fields._native")
    except ModuleNotFoundError:
        return None


def native_for(*tensors: Tensor) -> ModuleType | None:
    """The native kernels if they were built and can take all `tensors`: float32 on the CPU."""
    fits = all(item.device.type == "cpu" and item.dtype == torch.float32 for item in tensors)
    return native_kernels() if fits else None


def composite(
    densities: Float[Tensor, "S"],
    colors: Float[Tensor, "S 3"],
    samples: Samples,
    *,
    early_stop: float = 0.0,
    distortion: bool = False,
) -> RayColors:
    """`volume.composite`, native where it can be."""
    native = native_for(densities, colors, samples.starts)
    if native is None:
        return volume.composite(
            densities, colors, samples, early_stop=early_stop, distortion=distortion
        )
    values = _Composite.apply(
        densities, colors, samples.starts, samples.ends, samples.offsets, early_stop, native
    )
    seen, opacities, distances, medians, distortions = values
    return RayColors(seen, opacities, distances, medians, distortions if distortion else None)


class _Composite(torch.autograd.Function):
    """Colours, opacities, distances, median distances and distortions of packed samples."""

    @staticmethod
    def forward(
        ctx: Any,
        densities: Tensor,
        colors: Tensor,
        starts: Tensor,
        ends: Tensor,
        offsets: Tensor,
        early_stop: float,
        native: ModuleType,
    ) -> tuple[Tensor, ...]:
        rays = len(offsets) - 1
        held = [item.detach().contiguous() for item in (densities, colors, starts, ends)]
        held.append(offsets.contiguous())
        out = [densities.new_empty(rays, 3), *(densities.new_empty(rays) for _ in range(4))]
        native.composite_forward(
            *(item.data_ptr() for item in held),
            *(item.data_ptr() for item in out),
            rays,
            early_stop,
        )
        ctx.save_for_backward(*held)
        ctx.native, ctx.early_stop = native, early_stop
        ctx.mark_non_differentiable(out[3])
        return tuple(out)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        densities, colors, _, _, offsets = held = ctx.saved_tensors
        rays = len(offsets) - 1
        given = [gradients[i].contiguous() for i in (0, 1, 2, 4)]
        found = [torch.empty_like(densities), torch.empty_like(colors)]
        ctx.native.composite_backward(
            *(item.data_ptr() for item in (*held, *given, *found)), rays, ctx.early_stop
        )
        return found[0], found[1], None, None, None, None, None
