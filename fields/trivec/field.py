"""The field itself: equations in plain torch, which define the kernels.

In a leaf with local coordinates (u, v, w) in [0, 1]^3, component r is the product of three vectors
that are interpolated linearly between D nodes, the first and the last on the leaf's faces:

    φ_r = x_r(u) y_r(v) z_r(w)
    density = softplus(Σ_r d_r φ_r + shift) / unit
    color   = sigmoid(Σ_r Σ_k Y_k(direction) c_rk φ_r)

with spherical harmonics Y_k. Halving a leaf puts its children's nodes onto the parent's nodes and
half-way between them, so that subdivision changes nothing; leaving out the last components gives a
coarser field. Reference: Gao et al., "Strivec", 2023, eq. 3 for the product; Xiang et al.,
"Structured 3D latents" (TRELLIS), 2024, appendix A for leaves without a network.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn.functional import softplus

from splats.sh import sh_basis

from ..contract import Channel
from .octree import Octree

MASK_SIDE = 4
"""Cells along each side of a leaf that are known to be empty or not."""
FULL_MASK = -1
"""All 64 bits: nothing is known to be empty."""
MAX_RANK = 32
MAX_SH_DEGREE = 2


@dataclass(frozen=True)
class TrivecField:
    """N leaves of R components with D nodes each; a `Field`."""

    octree: Octree
    """Where the leaves are."""
    vectors: Float[Tensor, "N 3 D R"]
    """Values at the nodes of each axis (x, y, z)."""
    densities: Float[Tensor, "N R"]
    """Weight of each component in the density."""
    colors: Float[Tensor, "N K 3 R"]
    """Weights in the coefficients of the harmonics of each colour channel."""
    masks: Int64[Tensor, "N"]
    """Bit 16 i + 4 j + k is set where cell (i, j, k) of 4 x 4 x 4 may hold something."""
    ranks: UInt8[Tensor, "N"]
    """Components in use, a multiple of 8."""
    unit: float
    """Length that densities are counted in, world units."""
    shift: float = -5.0
    """Added to the density's feature: what the field is where all weights are zero."""

    def __post_init__(self) -> None:
        n, axes, nodes, rank = self.vectors.shape
        if axes != 3 or nodes < 2 or rank % 8 or not 8 <= rank <= MAX_RANK:
            raise ValueError(
                "`vectors` must be [N, 3, D, R] with D >= 2 and R = 8, 16, 24 or 32, got "
                f"{list(self.vectors.shape)}."
            )
        if n != len(self.octree) or self.densities.shape != (n, rank):
            raise ValueError(
                f"`densities` must be [{len(self.octree)}, {rank}], one row per leaf, got "
                f"{list(self.densities.shape)}."
            )
        if self.colors.shape[1] not in (1, 4, 9) or self.colors.shape[2:] != (3, rank):
            raise ValueError(
                "`colors` must be [N, K, 3, R] with 1, 4 or 9 harmonics, got "
                f"{list(self.colors.shape)}."
            )
        if not self.unit > 0:
            raise ValueError(f"`unit` must be positive, got {self.unit}.")

    def __len__(self) -> int:
        return len(self.octree)

    @property
    def channels(self) -> frozenset[Channel]:
        """Density and color."""
        return frozenset(("density", "color"))

    @property
    def sh_degree(self) -> int:
        """Degree of the view dependence, 0 to 2."""
        return {1: 0, 4: 1, 9: 2}[self.colors.shape[1]]

    @property
    def num_nodes(self) -> int:
        """D."""
        return self.vectors.shape[2]

    @property
    def rank(self) -> int:
        """R."""
        return self.vectors.shape[3]

    @property
    def num_parameters(self) -> int:
        """Numbers in the components that are in use."""
        per_component = 3 * self.num_nodes + 1 + 3 * self.colors.shape[1]
        return int(self.ranks.long().sum()) * per_component

    @property
    def num_bytes(self) -> int:
        """Memory of the parameters."""
        return self.vectors.nbytes + self.densities.nbytes + self.colors.nbytes

    def bounds(self) -> Float[Tensor, "2 3"]:
        """Corners of the box that holds all leaves."""
        return self.octree.bounds

    def density(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        """See `Field`."""
        leaves, local = self.locate(points)
        found = self.density_feature(leaves, local)
        return torch.where(leaves >= 0, softplus(found + self.shift) / self.unit, 0.0)

    def color(
        self, points: Float[Tensor, "*batch 3"], directions: Float[Tensor, "*batch 3"]
    ) -> Float[Tensor, "*batch 3"]:
        """See `Field`; grey outside of all leaves."""
        return self.density_and_color(points, directions)[1]

    def density_and_color(
        self, points: Float[Tensor, "*batch 3"], directions: Float[Tensor, "*batch 3"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch 3"]]:
        """See `Field`."""
        leaves, local = self.locate(points)
        densities, colors = self.at(leaves, local, directions)
        outside = leaves < 0
        return densities.masked_fill(outside, 0), colors.masked_fill(outside[..., None], 0.5)

    def locate(
        self, points: Float[Tensor, "*batch 3"]
    ) -> tuple[Int64[Tensor, "*batch"], Float[Tensor, "*batch 3"]]:
        """The leaf at each point, -1 where there is none, and the coordinates inside of it."""
        leaves = self.octree.locate(points)
        index = leaves.clamp(min=0)
        if len(self) == 0:
            return leaves, torch.zeros_like(points)
        local = (points - self.octree.lows[index]) / self.octree.sides[index][..., None]
        return leaves, local.clamp(0, 1)

    def at(
        self,
        leaves: Int64[Tensor, "*batch"],
        local: Float[Tensor, "*batch 3"],
        directions: Float[Tensor, "*batch 3"],
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch 3"]]:
        """Density and colour at local coordinates of leaves; those of leaf 0 where it is -1."""
        index = leaves.clamp(min=0)
        products = self._products(index, local)
        feature = (products * self.densities[index]).sum(-1)
        basis = sh_basis(self.sh_degree, directions)
        weights = torch.einsum("...k,...kcr->...cr", basis, self.colors[index])
        color = (weights * products[..., None, :]).sum(-1).sigmoid()
        return softplus(feature + self.shift) / self.unit, color

    def density_feature(
        self, leaves: Int64[Tensor, "*batch"], local: Float[Tensor, "*batch 3"]
    ) -> Float[Tensor, "*batch"]:
        """Σ_r d_r φ_r."""
        index = leaves.clamp(min=0)
        if len(self) == 0:
            return torch.zeros(leaves.shape)
        return (self._products(index, local) * self.densities[index]).sum(-1)

    def _products(
        self, leaves: Int64[Tensor, "*batch"], local: Float[Tensor, "*batch 3"]
    ) -> Float[Tensor, "*batch R"]:
        """φ_r, zero for components that are not in use."""
        at = local.clamp(0, 1) * (self.num_nodes - 1)
        node = at.long().clamp(max=self.num_nodes - 2)
        share = (at - node).unsqueeze(-1)
        axes = torch.arange(3, device=local.device)
        index = leaves.unsqueeze(-1)
        left = self.vectors[index, axes, node]
        right = self.vectors[index, axes, node + 1]
        values = left + share * (right - left)
        used = torch.arange(self.rank, device=local.device) < self.ranks[leaves].unsqueeze(-1)
        return values.prod(dim=-2) * used

    def subset(self, keep: Tensor) -> TrivecField:
        """The leaves chosen by flags or indices."""
        return replace(
            self,
            octree=self.octree.subset(keep),
            vectors=self.vectors[keep],
            densities=self.densities[keep],
            colors=self.colors[keep],
            masks=self.masks[keep],
            ranks=self.ranks[keep],
        )

    def limited(self, rank: int) -> TrivecField:
        """The field of the first `rank` components: a coarser level of detail.

        Raises:
            ValueError: `rank` is no multiple of 8.
        """
        if rank % 8 or rank < 8:
            raise ValueError(f"`rank` must be 8, 16, 24 or 32, got {rank}.")
        return replace(self, ranks=self.ranks.clamp(max=rank))
