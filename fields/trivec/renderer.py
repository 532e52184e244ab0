"""Rays through a tri-vector field: one kernel, or its twin where that was not built."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splats.sh import sh_basis

from ..kernels import composite, native_for
from ..rays import Rays
from ..volume import RayColors
from .field import TrivecField
from .sampler import OctreeSampler

STEP = 1 / 14
"""Longest step as a share of a leaf's side: half the distance of eight nodes."""
EARLY_STOP = 1e-3
"""Rays end once less than this share of the light is left: a quarter of an 8-bit step."""


@dataclass(frozen=True)
class TrivecRenderer:
    """A `RayRenderer` of a tri-vector field."""

    field: TrivecField
    """On the CPU."""
    step: float = STEP
    """Longest step, as a share of a leaf's side."""
    early_stop: float = EARLY_STOP
    """Rays end once less than this share of the light is left."""

    @property
    def num_bytes(self) -> int:
        """Memory of the parameters."""
        return self.field.num_bytes

    @property
    def num_primitives(self) -> int:
        """Leaves."""
        return len(self.field)

    def bounds(self) -> Float[Tensor, "2 3"]:
        """The field's."""
        return self.field.bounds()

    def render_rays(self, rays: Rays) -> RayColors:
        """See `RayRenderer`; every sample in the middle of its step."""
        return self.trace(rays, torch.full((len(rays),), 0.5))[0]

    def trace(
        self, rays: Rays, shares: Float[Tensor, "R"]
    ) -> tuple[RayColors, Bool[Tensor, "N"] | None]:
        """What rays see, and, while gradients are recorded, the leaves that backward fills in.

        Args:
            rays: R rays.
            shares: Where in their steps the samples of each ray lie, in [0, 1).

        Returns:
            The colours, and flags that `backward` sets where a leaf was met; None from the twin.
        """
        field = self.field
        native = native_for(field.vectors, rays.origins)
        if native is None:
            return self.twin(rays, shares), None
        seen = torch.zeros(len(field), dtype=torch.bool)
        basis = sh_basis(field.sh_degree, rays.directions).contiguous()
        call = _Call(native, self, rays, shares.contiguous(), basis, seen)
        parameters = (field.vectors, field.densities, field.colors)
        colors, opacities, distances, medians = _Trace.apply(*parameters, call)
        return RayColors(colors, opacities, distances, medians), seen

    def twin(self, rays: Rays, shares: Float[Tensor, "R"]) -> RayColors:
        """The same in plain torch, from the general parts: sampler, field, compositing."""
        samples = OctreeSampler(self.field, self.step).at(rays, shares)
        values = self.field.density_and_color(samples.points(rays), samples.directions(rays))
        return composite(*values, samples, early_stop=self.early_stop)


@dataclass
class _Call:
    """What the kernels need beside the parameters."""

    native: ModuleType
    renderer: TrivecRenderer
    rays: Rays
    shares: Tensor
    basis: Tensor
    seen: Tensor

    def model(self) -> Any:
        """The field on loan."""
        return _on_loan(self.native, self.renderer.field)

    def arguments(self) -> Any:
        """The rays on loan."""
        held = (self.rays.origins, self.rays.directions, self.shares, self.basis)
        step, early_stop = self.renderer.step, self.renderer.early_stop
        return self.native.TrivecRays(*(item.data_ptr() for item in held), step, early_stop)


def _on_loan(native: ModuleType, field: TrivecField) -> Any:
    held = (field.vectors, field.densities, field.colors, field.masks, field.ranks)
    if not all(item.is_contiguous() for item in held):
        raise ValueError("the arrays of a field must be contiguous; call .contiguous() first.")
    return native.TrivecModel(
        *(item.data_ptr() for item in held),
        len(field),
        field.num_nodes,
        field.rank,
        field.colors.shape[1],
        field.shift,
        field.unit,
    )


class _Trace(torch.autograd.Function):
    """Colours, opacities, distances and median distances of rays."""

    @staticmethod
    def forward(
        ctx: Any, vectors: Tensor, densities: Tensor, colors: Tensor, call: _Call
    ) -> tuple[Tensor, ...]:
        octree, count = call.renderer.field.octree, len(call.rays)
        out = [torch.empty(count, 3), *(torch.empty(count) for _ in range(3))]
        needed = any(ctx.needs_input_grad)
        ctx.call, ctx.tape = call, call.native.TrivecTape() if needed else None
        call.native.trivec_forward(
            call.model(),
            octree.children.data_ptr(),
            *octree.low.tolist(),
            octree.side,
            call.arguments(),
            *(item.data_ptr() for item in out),
            count,
            ctx.tape,
        )
        ctx.mark_non_differentiable(out[3])
        return tuple(out)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        call, field = ctx.call, ctx.call.renderer.field
        given = [gradient.contiguous() for gradient in gradients[:3]]
        found = [torch.empty_like(item) for item in (field.vectors, field.densities, field.colors)]
        call.native.trivec_backward(
            call.model(),
            call.arguments(),
            ctx.tape,
            *(item.data_ptr() for item in (*given, *found)),
            call.seen.data_ptr(),
        )
        ctx.tape = None  # it is used up
        return *found, None


def lattice_densities(field: TrivecField, side: int) -> Float[Tensor, "N side side side"]:
    """Densities on a lattice of each leaf, faces included, in leaf order."""
    native = native_for(field.vectors)
    out = torch.empty(len(field), side, side, side)
    if native is not None:
        native.trivec_lattice(_on_loan(native, field), side, out.data_ptr())
        return out
    axis = torch.linspace(0, 1, side)
    local = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
    for start in range(0, len(field), 256):
        leaves = torch.arange(start, min(start + 256, len(field)))[:, None, None, None]
        feature = field.density_feature(
            leaves.expand(-1, side, side, side), local.expand(len(leaves), -1, -1, -1, -1)
        )
        out[start : start + 256] = torch.nn.functional.softplus(feature + field.shift) / field.unit
    return out
