"""Small random fields and rays."""

from __future__ import annotations

import torch
from torch import Tensor

from fields import Rays
from fields.trivec import Octree, TrivecField


def octree() -> Octree:
    """Leaves of three sizes with gaps, no two overlapping."""
    levels, cells = [], []
    for x in range(4):
        for y in range(4):
            for z in range(4):
                kind = (7 * x + 3 * y + 5 * z) % 4
                if kind in (0, 1):
                    levels.append(2)
                    cells.append((x, y, z))
                elif kind == 2:
                    for octant in range(0, 8, 2 if x % 2 else 1):
                        levels.append(3)
                        low = (octant >> 2, octant >> 1 & 1, octant & 1)
                        cells.append((2 * x + low[0], 2 * y + low[1], 2 * z + low[2]))
    return Octree(torch.tensor([-1.0, -0.5, 0.2]), 2.0, torch.tensor(levels), torch.tensor(cells))


def field(*, rank: int = 16, nodes: int = 6, degree: int = 1, seed: int = 0) -> TrivecField:
    """Random components, random masks, some leaves with fewer components."""
    tree, random = octree(), torch.Generator().manual_seed(seed)
    n, bases = len(tree), (degree + 1) ** 2

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    ranks = torch.randint(1, rank // 8 + 1, (n,), generator=random) * 8
    masks = torch.randint(-(2**62), 2**62, (n,), generator=random)
    masks[::2] = -1
    return TrivecField(
        tree,
        0.6 + 0.4 * normal(n, 3, nodes, rank),
        0.8 * normal(n, rank),
        normal(n, bases, 3, rank),
        masks,
        ranks.byte(),
        unit=0.3,
    )


def rays(count: int, seed: int = 0) -> Rays:
    """From around the tree towards it; some miss it, some are parallel to axes."""
    random = torch.Generator().manual_seed(seed)
    origins = torch.randn(count, 3, generator=random) * 2 + torch.tensor([0.0, 0.5, 1.2])
    targets = torch.rand(count, 3, generator=random) * 2 + torch.tensor([-1.0, -0.5, 0.2])
    directions = targets - origins
    directions[: count // 8] = torch.eye(3)[torch.arange(count // 8) % 3]
    directions = directions / directions.norm(dim=1, keepdim=True)
    return Rays(origins, directions, torch.ones(count))
