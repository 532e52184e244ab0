"""Local tensors of several extents: at each scale the cubes around a sample are blended, the scales
are summed.

With shares w of the cubes of scale s (see `cubes`), products φ of three vectors and linear maps B:

    feature  = Σ_s Σ_k w_sk Σ_r φ_skr         density = coverage softplus(feature + shift) / unit
    features = Σ_s B_s Σ_k w_sk φ_sk          color   = network(features, direction)

`coverage` is the sum of the shares at the largest scale: 1 along the content, 0 where no cube is.
Reference: Gao et al., "Strivec", 2023, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from ..grids.contract import GridField, blank_generator
from ..grids.rows import read_rows
from ..samplers import OccupancyGrid
from ..shading import ColorNetwork, basis_matrix
from ..tensors import LocalPairs, cp_features
from ..tensors.nodes import interpolation
from .coding import from_rows
from .config import StrivecConfig
from .cubes import Cubes, Lattice, coverage

_SCALE = 0.2
"""Standard deviation of the first numbers."""
_MAX_ROWS = 1 << 21
_MAX_NODES = 1 << 10


class Scale(nn.Module):
    """The tensors of one extent."""

    cells: Tensor

    def __init__(self, lattice: Lattice, cells: Tensor, vectors: tuple[Tensor, Tensor], nodes: int):
        """
        Args:
            lattice: Of the cubes.
            cells: [T, 3] int32, where they are.
            vectors: Of density and color, [T * 3 * nodes, R] each.
            nodes: Along each side of a cube, the first and the last on its faces.
        """
        super().__init__()
        self.lattice, self.nodes = lattice, nodes
        self.register_buffer("cells", cells)
        self.densities, self.colors = (nn.Parameter(item) for item in vectors)

    @property
    def cubes(self) -> Cubes:
        """Where the tensors are."""
        held = self.__dict__.get("_cubes")
        if held is None or held.cells is not self.cells:
            held = self.__dict__["_cubes"] = Cubes(self.lattice, self.cells)
        return held

    def blocks(self, name: str) -> Float[Tensor, "T 3 L R"]:
        """Vectors as the kernel takes them."""
        rows = getattr(self, name)
        return rows.view(-1, 3, self.nodes, rows.shape[1])

    @torch.no_grad()
    def refined(self, points: Float[Tensor, "P 3"], nodes: int, random: torch.Generator) -> Scale:
        """The same tensors on other nodes; only those that cover points, and new ones that do."""
        wanted = self.lattice.cells_of(points)
        known = self.cubes.grid.lookup(wanted)
        weights, vectors = interpolation(self.nodes, nodes, torch.tensor([0.0, 1.0])), []
        for name in ("densities", "colors"):
            old = self.blocks(name)
            fresh = _SCALE * torch.randn(len(wanted), 3, nodes, old.shape[3], generator=random)
            kept = torch.einsum("ul,tklr->tkur", weights, old[known[known >= 0]])
            fresh[known >= 0] = kept
            vectors.append(fresh.reshape(-1, old.shape[3]))
        return Scale(self.lattice, wanted.int(), (vectors[0], vectors[1]), nodes)


class StrivecField(GridField):
    """Tensors along the content of a box."""

    KIND = "strivec"

    def __init__(
        self,
        config: StrivecConfig,
        box: Float[Tensor, "2 3"],
        unit: float,
        scales: Sequence[Scale],
        *,
        generator: torch.Generator,
    ) -> None:
        """
        Args:
            config: Sizes.
            box: Corners of the cube-shaped box, world units.
            unit: Length that densities are counted in.
            scales: The largest first.
            generator: Draws the linear maps and the network.
        """
        super().__init__()
        self.config, self.box, self.unit = config, box, unit
        self.scales = nn.ModuleList(scales)
        rank, features = config.color_rank, config.features
        starts = [basis_matrix(rank, features, generator=generator) for _ in scales]
        self.bases = nn.ParameterList(nn.Parameter(start) for start in starts)
        self.network = ColorNetwork(features, config.width, generator=generator)

    @classmethod
    def along(
        cls,
        points: Float[Tensor, "P 3"],
        config: StrivecConfig,
        box: Float[Tensor, "2 3"],
        unit: float,
        *,
        generator: torch.Generator,
    ) -> StrivecField:
        """Fresh tensors that cover points.

        Raises:
            ValueError: No point lies in the box.
        """
        inside = ((points >= box[0]) & (points <= box[1])).all(dim=1)
        if not bool(inside.any()):
            raise ValueError(
                f"none of {len(points)} points lies in the box {box.tolist()} that the photos see; "
                "are they in the frame of the capture's source?"
            )
        scales = []
        for lattice, rank in zip(_lattices(config, box), config.density_ranks, strict=True):
            cells, nodes = lattice.cells_of(points[inside]), _nodes(config, box, lattice, 0)
            rows = len(cells) * 3 * nodes
            density, color = (
                _SCALE * torch.randn(rows, size, generator=generator)
                for size in (rank, config.color_rank)
            )
            scales.append(Scale(lattice, cells.int(), (density, color), nodes))
        return cls(config, box, unit, scales, generator=generator)

    @property
    def num_primitives(self) -> int:
        """Tensors of all scales."""
        return sum(len(scale.cells) for scale in self.each())

    def each(self) -> list[Scale]:
        """The scales, the largest first."""
        return [scale for scale in self.scales if isinstance(scale, Scale)]

    def bounds(self) -> Float[Tensor, "2 3"]:
        """See `Field`."""
        return self.box

    def density_feature(
        self, points: Float[Tensor, "S 3"]
    ) -> tuple[Tensor, tuple[Tensor, list[LocalPairs]]]:
        """See `GridField`; coverage and pairs are handed on."""
        pairs = [scale.cubes.pairs(points) for scale in self.each()]
        parts = [
            cp_features(scale.blocks("densities"), where, summed=True)
            for scale, where in zip(self.each(), pairs, strict=True)
        ]
        return torch.stack(parts).sum(dim=0), (coverage(pairs[0]), pairs)

    def activated(self, feature: Tensor, found: tuple[Tensor, list[LocalPairs]]) -> Tensor:
        """See `GridField`."""
        return found[0] * super().activated(feature, found)

    def color_features(
        self, points: Float[Tensor, "S 3"], found: tuple[Tensor, list[LocalPairs]]
    ) -> Float[Tensor, "S F"]:
        """See `GridField`."""
        parts = [
            cp_features(scale.blocks("colors"), where, summed=False) @ basis
            for scale, where, basis in zip(self.each(), found[1], self.bases, strict=True)
        ]
        return torch.stack(parts).sum(dim=0)

    def grids(self) -> list[nn.Parameter]:
        """See `GridField`."""
        return [item for scale in self.each() for item in (scale.densities, scale.colors)]

    def sparsity(self) -> Tensor | None:
        """See `GridField`."""
        if not self.config.sparsity:
            return None
        means = [scale.densities.abs().mean() for scale in self.each()]
        return self.config.sparsity * torch.stack(means).sum()

    def refined(self, stage: int, sampler: OccupancyGrid, random: torch.Generator) -> StrivecField:
        """See `GridField`; tensors that cover nothing go, and content without any gets some."""
        points = sampler.dense_points()
        scales = [
            scale.refined(points, _nodes(self.config, self.box, scale.lattice, stage), random)
            for scale in self.each()
        ]
        grown = type(self)(self.config, self.box, self.unit, scales, generator=blank_generator())
        for mine, old in zip(grown.bases, self.bases, strict=True):
            mine.data.copy_(old.data)
        grown.network.load_state_dict(self.network.state_dict())
        return grown

    def description(self) -> dict[str, Any]:
        """See `GridField`."""
        config = self.config
        return {
            "box": self.box.tolist(),
            "unit": self.unit,
            "tensors": [len(scale.cells) for scale in self.each()],
            "nodes_of_scales": [scale.nodes for scale in self.each()],
            "pitches": list(config.pitches),
            "overlap": config.overlap,
            "density_ranks": list(config.density_ranks),
            "color_rank": config.color_rank,
            "features": config.features,
            "width": config.width,
            "first_nodes": config.first_nodes,
            "nodes": config.nodes,
            "sparsity": config.sparsity,
            "upsample_at": list(config.upsample_at),
            "coarse_until": config.coarse_until,
        }

    @classmethod
    def blank(cls, description: Mapping[str, Any]) -> StrivecField:
        """See `GridField`."""
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in description.items()
        }
        nodes = [int(n) for n in values.pop("nodes_of_scales")]
        counts = [int(n) for n in values.pop("tensors")]
        box = torch.tensor(values.pop("box"), dtype=torch.float32).reshape(2, 3)
        unit = float(values.pop("unit"))
        config = StrivecConfig(**values)
        if not all(2 <= n <= _MAX_NODES for n in nodes):
            raise ValueError(f"tensors must have 2 to {_MAX_NODES} nodes, got {nodes}")
        scales = []
        for i, (lattice, rank) in enumerate(
            zip(_lattices(config, box), config.density_ranks, strict=True)
        ):
            if not 0 <= counts[i] * nodes[i] <= _MAX_ROWS:
                raise ValueError(
                    f"{counts[i]} tensors of {nodes[i]} nodes are more than a field may have"
                )
            rows = counts[i] * 3 * nodes[i]
            vectors = torch.zeros(rows, rank), torch.zeros(rows, config.color_rank)
            cells = torch.zeros(counts[i], 3, dtype=torch.int32)
            scales.append(Scale(lattice, cells, vectors, nodes[i]))
        return cls(config, box, unit, scales, generator=blank_generator())

    def decoded(self, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """See `GridField`."""
        found: dict[str, NDArray[Any]] = {}
        for name, values in self.state_dict().items():
            array = arrays[name]
            parts = name.split(".")
            if parts[0] == "scales" and parts[2] != "cells":
                count = len(self.each()[int(parts[1])].cells)
                found[name] = from_rows(torch.from_numpy(array), count).numpy()
            elif parts[0] == "scales":
                found[name] = array
            else:
                found[name] = read_rows(array, tuple(values.shape))
        return found


def _lattices(config: StrivecConfig, box: Tensor) -> list[Lattice]:
    side = float(box[1, 0] - box[0, 0])
    return [Lattice.around(box, pitch * side, config.overlap) for pitch in config.pitches]


def _nodes(config: StrivecConfig, box: Tensor, lattice: Lattice, stage: int) -> int:
    """Nodes along a cube of a lattice: equally far apart at all scales."""
    share = stage / max(1, len(config.upsample_at))
    across = config.first_nodes * (config.nodes / config.first_nodes) ** share
    side = lattice.overlap * lattice.pitch / float(box[1, 0] - box[0, 0])
    return max(2, round(side * across) + 1)
