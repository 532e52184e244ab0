"""Morton octrees and what runs on them against dense counterparts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fields.shapes.models.octree_layers import OctreeAttention, OctreeConv, OctreePool
from fields.shapes.octree import (
    Level,
    batched,
    leaf_features,
    level_of,
    morton_cells,
    morton_keys,
)
from vq.sets.morton import morton_codes


def random_level(depth: int, count: int, seed: int = 0) -> Level:
    generator = torch.Generator().manual_seed(seed)
    return level_of(2 * torch.rand(count, 3, generator=generator) - 1, depth)[0]


def test_keys_are_those_of_the_codec_and_invertible() -> None:
    cells = torch.randint(0, 1024, (5000, 3), generator=torch.Generator().manual_seed(0))
    keys = morton_keys(cells)
    assert (morton_cells(keys) == cells).all()
    assert (keys.numpy() == morton_codes(cells.numpy().astype(np.uint32)).astype(np.int64)).all()


def test_neighbors_are_one_step_away_and_complete() -> None:
    level = batched([random_level(4, 300), random_level(4, 40, 1)])
    neighbors = level.neighbors()
    cells, shapes = level.cells, level.shapes
    assert (neighbors[:, 13] == torch.arange(len(level.keys))).all()
    dense = torch.full((2, 18, 18, 18), -1)
    dense[shapes, cells[:, 0] + 1, cells[:, 1] + 1, cells[:, 2] + 1] = torch.arange(len(cells))
    steps = torch.cartesian_prod(*[torch.arange(3)] * 3)
    places = cells[:, None] + steps
    wanted = dense[shapes[:, None], places[..., 0], places[..., 1], places[..., 2]]
    assert (neighbors == wanted).all()


def test_convolution_equals_the_dense_one() -> None:
    level = random_level(3, 120)
    conv, x = OctreeConv(5, 4), torch.randn(len(level.keys), 5)
    dense = torch.zeros(1, 5, 8, 8, 8)
    i, j, k = level.cells.T
    dense[0, :, i, j, k] = x.T
    weight = conv.weight.reshape(3, 3, 3, 5, 4).permute(4, 3, 0, 1, 2)
    wanted = torch.nn.functional.conv3d(dense, weight, conv.bias, padding=1)[0, :, i, j, k].T
    torch.testing.assert_close(conv(x, level.neighbors()), wanted, atol=1e-5, rtol=1e-4)


def test_pooling_equals_the_strided_convolution() -> None:
    level = random_level(4, 200)
    pool, x = OctreePool(3, 6), torch.randn(len(level.keys), 3)
    found, parents = pool(x, level)
    dense = torch.zeros(1, 3, 16, 16, 16)
    i, j, k = level.cells.T
    dense[0, :, i, j, k] = x.T
    # The octant's lowest bit is x: place = x + 2 y + 4 z.
    weight = pool.weight.reshape(2, 2, 2, 3, 6).permute(4, 3, 2, 1, 0)
    made = torch.nn.functional.conv3d(dense, weight, pool.bias, stride=2)[0]
    i, j, k = parents.cells.T
    torch.testing.assert_close(found, made[:, i, j, k].T, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shifted", [False, True])
def test_attention_never_crosses_shapes(shifted: bool) -> None:
    one, other = random_level(4, 90), random_level(4, 150, 1)
    attention = OctreeAttention(16, 4, window=32, shifted=shifted)
    x, y = torch.randn(len(one.keys), 16), torch.randn(len(other.keys), 16)
    alone = attention(x, one)
    together = attention(torch.cat([x, y]), batched([one, other]))
    torch.testing.assert_close(together[: len(x)], alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together[len(x) :], attention(y, other), atol=1e-5, rtol=1e-4)
    together[: len(x)].sum().backward()


def test_leaf_features_of_a_plane() -> None:
    generator = torch.Generator().manual_seed(0)
    points = 1.8 * torch.rand(20_000, 3, generator=generator) - 0.9
    points[:, 2] = 0.1
    normals = torch.tensor([0.0, 0.0, 1.0]).expand_as(points)
    level, features = leaf_features(points, normals, 5)
    assert (level.keys.diff() > 0).all()
    torch.testing.assert_close(features[:, :3], normals[: len(features)])
    # The plane stands 0.1 / (1/16) = 1.6 cells above 0: 0.1 above the middle of its cell.
    torch.testing.assert_close(features[:, 3], torch.full((len(features),), 0.1), atol=1e-4, rtol=0)
    torch.testing.assert_close(features[:, 6], features[:, 3])


def test_points_in_any_order_give_the_same_octree() -> None:
    points, normals = torch.rand(500, 3) * 2 - 1, torch.randn(500, 3)
    order = torch.randperm(500)
    first, one = leaf_features(points, normals, 4)
    second, two = leaf_features(points[order], normals[order], 4)
    assert (first.keys == second.keys).all()
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)
