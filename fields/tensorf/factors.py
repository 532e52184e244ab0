"""The two decompositions as modules: features of points of the unit cube from nodes on its axes.

Parameters are kept as rows, one per node or pair of nodes, so that an optimizer can leave out the
rows that no ray met.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..tensors import LocalPairs, VmFactors, cp_features, vm_features
from ..tensors.nodes import interpolation
from ..tensors.vm import LINE_AXIS, PLANE_AXES

_BLOCK = 48
"""Components that a kernel takes at once."""


class Factors(nn.Module, ABC):
    """A decomposition with nodes along x, y and z."""

    size: tuple[int, int, int]
    """Nodes along each axis, the first and the last on the box's faces."""

    @property
    @abstractmethod
    def num_components(self) -> int:
        """Numbers that `components` gives."""

    @abstractmethod
    def summed(self, points: Float[Tensor, "S 3"]) -> Float[Tensor, "S"]:
        """Sum of the components at points in [0, 1]^3."""

    @abstractmethod
    def components(self, points: Float[Tensor, "S 3"]) -> Float[Tensor, "S C"]:
        """All components at points in [0, 1]^3."""

    @abstractmethod
    def resampled(self, size: tuple[int, int, int], part: Float[Tensor, "2 3"]) -> Factors:
        """The same functions inside `part` of the unit cube (its corners), on other nodes."""

    def sparsity(self) -> Float[Tensor, ""]:
        """Mean absolute value of the parameters, of each kind of factor by itself."""
        return torch.stack([item.abs().mean() for item in self.parameters()]).sum()


class VmTensor(Factors):
    """Planes and lines in three orientations."""

    def __init__(self, planes: list[Tensor], lines: list[Tensor], size: tuple[int, int, int]):
        """
        Args:
            planes: [Gx * Gy, R], [Gx * Gz, R] and [Gy * Gz, R].
            lines: [Gz, R], [Gy, R] and [Gx, R].
            size: Nodes along each axis.
        """
        super().__init__()
        self.planes = nn.ParameterList(nn.Parameter(item) for item in planes)
        self.lines = nn.ParameterList(nn.Parameter(item) for item in lines)
        self.size = size

    @classmethod
    def drawn(
        cls, size: tuple[int, int, int], rank: int, scale: float, generator: torch.Generator
    ) -> VmTensor:
        """Normal numbers of a standard deviation."""

        def normal(rows: int) -> Tensor:
            return scale * torch.randn(rows, rank, generator=generator)

        planes = [normal(size[a] * size[b]) for a, b in PLANE_AXES]
        return cls(planes, [normal(size[axis]) for axis in LINE_AXIS], size)

    @property
    def num_components(self) -> int:
        """3 R."""
        return 3 * self.lines[0].shape[1]

    def factors(self) -> VmFactors:
        """As the kernels take them."""
        size = self.size
        p0, p1, p2 = (
            plane.view(size[a], size[b], -1)
            for plane, (a, b) in zip(self.planes, PLANE_AXES, strict=True)
        )
        l0, l1, l2 = self.lines
        return VmFactors((p0, p1, p2), (l0, l1, l2))

    def summed(self, points: Float[Tensor, "S 3"]) -> Float[Tensor, "S"]:
        """See `Factors`."""
        return vm_features(self.factors(), points, summed=True)

    def components(self, points: Float[Tensor, "S 3"]) -> Float[Tensor, "S C"]:
        """See `Factors`."""
        return vm_features(self.factors(), points, summed=False)

    @torch.no_grad()
    def resampled(self, size: tuple[int, int, int], part: Float[Tensor, "2 3"]) -> VmTensor:
        """See `Factors`."""
        maps = [interpolation(self.size[i], size[i], part[:, i]) for i in range(3)]
        held, planes, lines = self.factors(), [], []
        for k, (a, b) in enumerate(PLANE_AXES):
            rows = torch.einsum("ua,abr->ubr", maps[a], held.planes[k])
            plane = torch.einsum("vb,ubr->uvr", maps[b], rows)
            planes.append(plane.reshape(size[a] * size[b], -1).contiguous())
            lines.append(maps[LINE_AXIS[k]] @ held.lines[k])
        return VmTensor(planes, lines, size)


class CpTensor(Factors):
    """Three lines for each component, all axes with equally many nodes."""

    def __init__(self, vectors: Tensor, nodes: int):
        """
        Args:
            vectors: [G * 3 * nodes, R]: G blocks of R components, see `cp_features`.
            nodes: Along each axis.
        """
        super().__init__()
        self.vectors = nn.Parameter(vectors)
        self.size = (nodes, nodes, nodes)

    @classmethod
    def drawn(cls, nodes: int, rank: int, scale: float, generator: torch.Generator) -> CpTensor:
        """Normal numbers of a standard deviation."""
        block = max(size for size in range(8, _BLOCK + 1, 8) if rank % size == 0)
        shape = (rank // block * 3 * nodes, block)
        return cls(scale * torch.randn(shape, generator=generator), nodes)

    @property
    def blocks(self) -> Float[Tensor, "G 3 L R"]:
        """As the kernel takes them."""
        return self.vectors.view(-1, 3, self.size[0], self.vectors.shape[1])

    @property
    def num_components(self) -> int:
        """G R."""
        return self.vectors.numel() // (3 * self.size[0])

    def summed(self, points: Float[Tensor, "S 3"]) -> Float[Tensor, "S"]:
        """See `Factors`."""
        return cp_features(self.blocks, self._pairs(points, together=True), summed=True)

    def components(self, points: Float[Tensor, "S 3"]) -> Float[Tensor, "S C"]:
        """See `Factors`."""
        found = cp_features(self.blocks, self._pairs(points, together=False), summed=False)
        return found.view(len(points), -1)

    def _pairs(self, points: Tensor, *, together: bool) -> LocalPairs:
        """Every point with every block; `together` as one sample, else as one per block."""
        count, blocks = len(points), len(self.blocks)
        return LocalPairs(
            torch.arange(0, count * blocks + 1, blocks if together else 1),
            torch.arange(blocks, dtype=torch.int32).repeat(count),
            points.repeat_interleave(blocks, dim=0),
            torch.ones(count * blocks),
        )

    @torch.no_grad()
    def resampled(self, size: tuple[int, int, int], part: Float[Tensor, "2 3"]) -> CpTensor:
        """See `Factors`; as many nodes on each axis as on the longest."""
        nodes = max(size)
        maps = torch.stack([interpolation(self.size[i], nodes, part[:, i]) for i in range(3)])
        vectors = torch.einsum("iul,gilr->giur", maps, self.blocks)
        return CpTensor(vectors.reshape(-1, self.vectors.shape[1]).contiguous(), nodes)
