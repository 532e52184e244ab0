"""Small random fields and rays."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from captures import Cameras, Capture, Similarity, View
from fields import Rays, camera_rays
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
        shift=-1.0,
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


def ring(count: int, size: int) -> Cameras:
    """Cameras at distance 1 from the origin that look at it, from above and below in turns."""
    viewmats = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    for i in range(count):
        angle = 2 * math.pi * i / count
        height = 0.6 if i % 2 else -0.3
        position = torch.tensor([math.cos(angle), math.sin(angle), height], dtype=torch.float64)
        position = position / position.norm()
        z = -position
        x = torch.linalg.cross(z, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
        x = x / x.norm()
        rotation = torch.stack([x, torch.linalg.cross(z, x), z])
        viewmats[i, :3, :3], viewmats[i, :3, 3] = rotation, -rotation @ position
    f = 0.75 * size  # wide enough that all cameras see the whole surroundings of the ball
    K = torch.tensor([[f, 0, size / 2], [0, f, size / 2], [0, 0, 1]], dtype=torch.float64)
    return Cameras(viewmats, K.repeat(count, 1, 1), size, size)


def ball_views(cameras: Cameras, *, radius: float = 0.3, supersample: int = 4) -> list[View]:
    """Photos of an opaque ball around the origin with smooth stripes, exact up to antialiasing."""
    large = cameras.resized(cameras.width * supersample, cameras.height * supersample)
    views = []
    for i in range(len(cameras)):
        look = camera_rays(large[[i]])
        along = (look.origins * look.directions).sum(1)
        root = along.square() - look.origins.square().sum(1) + radius**2
        hit = root > 0
        points = look.origins - (along + root.clamp(min=0).sqrt())[:, None] * look.directions
        colors = (0.5 + 0.4 * torch.sin(18 * points)) * hit[:, None]
        layers = torch.cat([colors, hit[:, None].float()], 1).T.view(1, 4, large.height, -1)
        small = torch.nn.functional.avg_pool2d(layers, supersample)[0]
        views.append(View(small[:3].movedim(0, -1).contiguous(), small[3].contiguous()))
    return views


def ball_capture(*, count: int = 14, size: int = 56, with_alpha: bool = True) -> Capture:
    """A capture of the ball that holds out every seventh view."""
    cameras = ring(count, size)
    views = ball_views(cameras)
    if not with_alpha:
        views = [View(view.image) for view in views]
    test = tuple(range(0, count, 7))
    return Capture(
        source=Path("ball"),
        cameras=cameras,
        image_names=tuple(f"{i:02}.png" for i in range(count)),
        train=tuple(i for i in range(count) if i not in test),
        test=test,
        split="every 7th",
        load_view=views.__getitem__,
        T_source_capture=Similarity(2.5, translation=torch.tensor([1.0, -2.0, 0.5]).double()),
    )
