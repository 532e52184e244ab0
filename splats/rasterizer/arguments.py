"""The arguments of `rasterization`, and the checks that name the one that is wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from captures import ensure_shape

from ..sh import num_sh_bases
from .backend import CameraModel

RenderMode = Literal["RGB", "D", "ED", "RGB+D", "RGB+ED"]
RasterizeMode = Literal["classic", "antialiased"]

_UNSUPPORTED = {
    "distributed": False,
    "with_ut": False,
    "with_eval3d": False,
    "radial_coeffs": None,
    "tangential_coeffs": None,
    "thin_prism_coeffs": None,
    "ftheta_coeffs": None,
    "rolling_shutter": None,
    "viewmats_rs": None,
}
"""Options of gsplat that no backend here offers, with the value that leaves them off."""


@dataclass(frozen=True, slots=True)
class Options:
    """The arguments that are not tensors; `rasterization` documents each."""

    width: int
    height: int
    near_plane: float
    far_plane: float
    radius_clip: float
    eps2d: float
    sh_degree: int | None
    tile_size: int
    render_mode: RenderMode
    sparse_grad: bool
    absgrad: bool
    rasterize_mode: RasterizeMode
    channel_chunk: int
    camera_model: CameraModel

    def __post_init__(self) -> None:
        for name in ("width", "height", "tile_size", "channel_chunk"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be a positive int, got {value!r}.")
        if self.sh_degree is not None and self.sh_degree not in range(5):
            raise ValueError(f"`sh_degree` must be None or 0 to 4, got {self.sh_degree!r}.")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                expected = ", ".join(repr(choice) for choice in choices)
                raise ValueError(
                    f"`{name}` must be one of {expected}, got {getattr(self, name)!r}."
                )

    @property
    def tile_width(self) -> int:
        """Tiles in a row."""
        return math.ceil(self.width / self.tile_size)

    @property
    def tile_height(self) -> int:
        """Tiles in a column."""
        return math.ceil(self.height / self.tile_size)

    @property
    def depth_mode(self) -> Literal["", "D", "ED"]:
        """What the depth channel, if any, holds: accumulated or expected depth."""
        last = self.render_mode.split("+")[-1]
        return "" if last == "RGB" else last  # pyright: ignore[reportReturnType]

    @property
    def with_colors(self) -> bool:
        """Whether colours are rendered."""
        return self.render_mode.startswith("RGB")


_CHOICES = {
    "render_mode": get_args(RenderMode),
    "rasterize_mode": get_args(RasterizeMode),
    "camera_model": get_args(CameraModel),
}


@dataclass(frozen=True, slots=True)
class Inputs:
    """The tensor arguments, all with the same batch dimensions `...`."""

    means: Float[Tensor, "... N 3"]
    quats: Float[Tensor, "... N 4"] | None
    scales: Float[Tensor, "... N 3"] | None
    opacities: Float[Tensor, "... N"]
    colors: Float[Tensor, "..."]
    viewmats: Float[Tensor, "... C 4 4"]
    Ks: Float[Tensor, "... C 3 3"]
    covars: Float[Tensor, "... N 3 3"] | None
    backgrounds: Float[Tensor, "... C D"] | None
    masks: Bool[Tensor, "... C tile_height tile_width"] | None
    sh_rest: Float[Tensor, "... N rest 3"] | None = None

    def check(self, options: Options) -> None:
        """Raise `ValueError` for the first argument of a wrong shape, dtype or device."""
        ensure_shape("means", self.means, ("...", "N", 3))
        ensure_shape("viewmats", self.viewmats, ("...", "C", 4, 4), _VIEWMATS_HINT)
        batch = tuple(self.means.shape[:-2])
        num, cameras = self.means.shape[-2], self.viewmats.shape[-3]
        if cameras == 0 or 0 in batch:
            raise ValueError(
                f"`viewmats` must hold at least one camera per scene and `means` at least one "
                f"scene, got {list(self.viewmats.shape)} and {list(self.means.shape)}."
            )
        ensure_shape("viewmats", self.viewmats, (*batch, cameras, 4, 4), _VIEWMATS_HINT)
        ensure_shape("Ks", self.Ks, (*batch, cameras, 3, 3), "one intrinsic matrix per camera.")
        ensure_shape("opacities", self.opacities, (*batch, num))
        self._check_covariances(batch, num)
        channels = self._check_colors(batch, cameras, num, options.sh_degree)
        if self.backgrounds is not None:
            ensure_shape("backgrounds", self.backgrounds, (*batch, cameras, channels))
        if self.masks is not None:
            tiles = (options.tile_height, options.tile_width)
            ensure_shape("masks", self.masks, (*batch, cameras, *tiles), "one bool per tile.")
        self._check_types()

    def _check_covariances(self, batch: tuple[int, ...], num: int) -> None:
        if self.covars is not None:
            ensure_shape("covars", self.covars, (*batch, num, 3, 3))
            return
        if self.quats is None or self.scales is None:
            raise ValueError("`quats` and `scales` must be given unless `covars` is.")
        ensure_shape("quats", self.quats, (*batch, num, 4), "(w, x, y, z) per Gaussian.")
        ensure_shape("scales", self.scales, (*batch, num, 3), "not logarithms.")

    def _check_colors(
        self, batch: tuple[int, ...], cameras: int, num: int, sh_degree: int | None
    ) -> int:
        """Number of channels of `colors` once evaluated."""
        if self.sh_rest is not None and sh_degree is None:
            raise ValueError(
                "`sh_rest` holds SH coefficients, so `sh_degree` must be given with it."
            )
        colors, trailing = self.colors, 1 if sh_degree is None else 2
        per_camera = colors.dim() == len(batch) + 2 + trailing
        lead = (*batch, cameras, num) if per_camera else (*batch, num)
        if sh_degree is None:
            ensure_shape("colors", colors, (*lead, "D"), "pass `sh_degree` for SH coefficients.")
            if colors.shape[-1] == 0:
                raise ValueError(f"`colors` must have at least one channel, got {[*colors.shape]}.")
            return colors.shape[-1]
        ensure_shape("colors", colors, (*lead, "K", 3), "SH coefficients, as `sh_degree` is given.")
        given, needed = colors.shape[-2], num_sh_bases(sh_degree)
        if self.sh_rest is not None:
            hint = "degree 0 alone, as `sh_rest` is given."
            ensure_shape("colors", colors, (*batch, num, 1, 3), hint)
            ensure_shape("sh_rest", self.sh_rest, (*batch, num, "rest", 3))
            given += self.sh_rest.shape[-2]
        if given < needed:
            raise ValueError(
                f"`colors` must hold at least {needed} SH coefficients for `sh_degree` "
                f"{sh_degree}, got {given}; lower `sh_degree`."
            )
        return 3

    @property
    def coefficients(self) -> Tensor:
        """SH coefficients [..., K, 3] in one tensor."""
        if self.sh_rest is None:
            return self.colors
        return torch.cat([self.colors, self.sh_rest], dim=-2)

    def _check_types(self) -> None:
        dtype, device = self.means.dtype, self.means.device
        for name in _NAMES:
            tensor = getattr(self, name)
            if tensor is None:
                continue
            expected = torch.bool if name == "masks" else dtype
            if tensor.dtype != expected or tensor.device != device:
                raise ValueError(
                    f"`{name}` must be {expected} on {device} (`means` is {dtype} there), "
                    f"got {tensor.dtype} on {tensor.device}; convert it with `.to(...)`."
                )


_NAMES = tuple(field.name for field in fields(Inputs))
_VIEWMATS_HINT = "world-to-camera matrices; append the row 0 0 0 1 to [3, 4] ones."


def refuse_unsupported(extra: dict[str, Any]) -> None:
    """Raise for keyword arguments that are gsplat's but not offered here, or nobody's."""
    for name, value in extra.items():
        if name == "segmented":  # a choice of sorting algorithm that changes no result
            continue
        if name not in _UNSUPPORTED:
            raise TypeError(f"rasterization() got an unexpected keyword argument '{name}'.")
        if value is not None and value is not False:
            raise ValueError(
                f"`{name}` must be left at {_UNSUPPORTED[name]!r}, got {value!r}: no backend "
                f"of splats.rasterization supports it; call gsplat.rasterization for it."
            )
