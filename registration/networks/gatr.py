"""A transformer whose tokens are multivectors of the projective geometric algebra.

Reference: Brehmer, de Haan, Behrends and Cohen, "Geometric Algebra Transformer", NeurIPS 2023.
Every block commutes with motions of space: rotations and translations together.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from .neighborhoods import nearest, relative
from .projective_algebra import WITHOUT_E0, geometric_product, join, linear_basis, point

_LEAST_NORM = 0.01  # of the mean squared norm that a layer norm divides by
_EPS = 1e-3  # of the points that attention measures distances between

Tokens = tuple[Tensor, Tensor]
"""Multivectors [..., C, 16] and scalars [..., S]."""


class EquiLinear(nn.Module):
    """All equivariant linear maps between channels, mixed with scalar channels; bias on scalars."""

    def __init__(self, c_in: int, c_out: int, s_in: int, s_out: int) -> None:
        super().__init__()
        self.maps = nn.Parameter(torch.randn(c_out, c_in, 9) / (3 * c_in**0.5))
        self.to_scalar_part = nn.Linear(s_in, c_out)
        self.scalars = nn.Linear(s_in + c_in, s_out)

    def forward(self, x: Tensor, s: Tensor) -> Tokens:
        """Channels [..., C_in, 16] and [..., S_in] to C_out and S_out."""
        basis = linear_basis().to(x)
        y = torch.einsum("oik,kab,...ib->...oa", self.maps, basis, x)
        extra = functional.pad(self.to_scalar_part(s)[..., None], (0, 15))
        return y + extra, self.scalars(torch.cat([s, x[..., 0]], dim=-1))


class EquiNorm(nn.Module):
    """Divides by the root of the channels' mean invariant square; layer norm on scalars."""

    def __init__(self, s: int) -> None:
        super().__init__()
        self.scalars = nn.LayerNorm(s)

    def forward(self, x: Tensor, s: Tensor) -> Tokens:
        """The same shapes."""
        square = x[..., list(WITHOUT_E0)].square().sum(-1).mean(-1)
        return x / square.clamp_min(_LEAST_NORM).sqrt()[..., None, None], self.scalars(s)


class GeometricBilinear(nn.Module):
    """Half of the channels are geometric products, half joins.

    Joins change sign with the orientation of space. The published layer multiplies them by a
    reference pseudoscalar to respect mirrors, too; this one is for proper motions and keeps the
    sign, which tells mirror images apart.
    """

    def __init__(self, c_in: int, c_out: int, s_in: int, s_out: int) -> None:
        super().__init__()
        self.num_half = max(c_out // 2, 1)
        self.factors = EquiLinear(c_in, 4 * self.num_half, s_in, s_in)
        self.out = EquiLinear(2 * self.num_half, c_out, s_in, s_out)

    def forward(self, x: Tensor, s: Tensor) -> Tokens:
        """Channels [..., C_in, 16] and [..., S_in] to C_out and S_out."""
        factors, s = self.factors(x, s)
        a, b, c, d = factors.split(self.num_half, dim=-2)
        return self.out(torch.cat([geometric_product(a, b), join(c, d)], dim=-2), s)


class EquiAttention(nn.Module):
    """Attention by invariant products, scalars and distances of the points inside the tokens."""

    def __init__(self, c: int, s: int, *, heads: int = 4) -> None:
        super().__init__()
        if c % heads or s % heads:
            raise ValueError(f"`heads` must divide the channels {c} and {s}, got {heads}.")
        self.heads = heads
        self.q, self.k, self.v = (EquiLinear(c, c, s, s) for _ in range(3))
        self.out = EquiLinear(c, c, s, s)

    def forward(self, x: Tensor, s: Tensor) -> Tokens:
        """Tokens [..., n, C, 16] and [..., n, S] attend to all n of their set."""
        q, k, v = (self._heads(*part(x, s)) for part in (self.q, self.k, self.v))
        query = self._features(*q, _query_distance(q[0]))
        key = self._features(*k, _key_distance(k[0]))
        value = torch.cat([v[0].flatten(-2), v[1]], dim=-1)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        mixed = mixed.transpose(-3, -2)
        c, width = v[0].shape[-2], 16 * v[0].shape[-2]
        multivectors = mixed[..., :width].unflatten(-1, (c, 16)).flatten(-3, -2)
        return self.out(multivectors, mixed[..., width:].flatten(-2))

    def _heads(self, x: Tensor, s: Tensor) -> Tokens:
        """[..., heads, n, C / heads, 16] and [..., heads, n, S / heads]."""
        x = x.unflatten(-2, (self.heads, -1)).movedim(-3, -4)
        return x, s.unflatten(-1, (self.heads, -1)).transpose(-3, -2)

    def _features(self, x: Tensor, s: Tensor, distance: Tensor) -> Tensor:
        return torch.cat([x[..., list(WITHOUT_E0)].flatten(-2), s, distance.flatten(-2)], dim=-1)


class GatrBlock(nn.Module):
    """x += attention(norm x); x += mlp(norm x)."""

    def __init__(self, c: int, s: int, *, heads: int = 4) -> None:
        super().__init__()
        self.norm1, self.norm2 = EquiNorm(s), EquiNorm(s)
        self.attention = EquiAttention(c, s, heads=heads)
        self.bilinear = GeometricBilinear(c, 2 * c, s, 2 * s)
        self.project = EquiLinear(2 * c, c, 2 * s, s)

    def forward(self, x: Tensor, s: Tensor) -> Tokens:
        """The same shapes."""
        dx, ds = self.attention(*self.norm1(x, s))
        x, s = x + dx, s + ds
        y, t = self.bilinear(*self.norm2(x, s))
        y, t = functional.gelu(y[..., :1]) * y, functional.gelu(t)  # gated by the scalar part
        dx, ds = self.project(y, t)
        return x + dx, s + ds


class Gatr(nn.Module):
    """Blocks between two linear layers: multivectors and scalars in, the same out."""

    def __init__(
        self, c_in: int, c_out: int, s_in: int, s_out: int, *, c: int, s: int, depth: int
    ) -> None:
        super().__init__()
        self.first = EquiLinear(c_in, c, s_in, s)
        self.blocks = nn.ModuleList(GatrBlock(c, s) for _ in range(depth))
        self.last = EquiLinear(c, c_out, s, s_out)

    def forward(
        self, x: Float[Tensor, "*batch n C 16"], s: Float[Tensor, "*batch n S"]
    ) -> tuple[Float[Tensor, "*batch n D 16"], Float[Tensor, "*batch n T"]]:
        """Multivectors move with space, scalars stay."""
        x, s = self.first(x, s)
        for block in self.blocks:
            x, s = block(x, s)
        return self.last(x, s)


class GatrBackbone(nn.Module):
    """Invariant point features: each point's neighborhood is one set of tokens."""

    def __init__(
        self, channels: int = 32, *, k: int = 12, depth: int = 2, radius: float | None = None
    ) -> None:
        super().__init__()
        self.k, self.radius, self.channels = k, radius, channels
        self.body = Gatr(1, 1, 1, channels, c=4, s=16, depth=depth)

    def forward(self, points: Float[Tensor, "*batch n 3"]) -> Float[Tensor, "*batch n C"]:
        """Features that do not change with rotations and translations."""
        vectors = relative(points, nearest(points, self.k), self.radius)
        tokens = torch.cat([torch.zeros_like(vectors[..., :1, :]), vectors], dim=-2)
        center = torch.zeros_like(tokens[..., :1])
        center[..., 0, :] = 1.0
        _, scalars = self.body(point(tokens)[..., None, :], center)
        return scalars[..., 0, :]


def _normalized_points(x: Tensor) -> tuple[Tensor, Tensor]:
    """(w, position * w) of trivectors [..., 16], scaled so that w is near 1 unless it vanishes."""
    w = x[..., 14:15]
    scale = w / (w.square() + _EPS)
    place = torch.stack([-x[..., 13], x[..., 12], -x[..., 11]], dim=-1)
    return w * scale, place * scale


def _query_distance(x: Tensor) -> Tensor:
    """With `_key_distance`: a product of -|w_k p_q - w_q p_k|^2, in five numbers."""
    w, p = _normalized_points(x)
    return torch.cat([-p.square().sum(-1, True), -w.square(), 2 * w * p], dim=-1)


def _key_distance(x: Tensor) -> Tensor:
    w, p = _normalized_points(x)
    return torch.cat([w.square(), p.square().sum(-1, True), w * p], dim=-1)
