"""The surface on which a sparse lattice of values takes a level."""

from __future__ import annotations

import numpy as np

from .bricks import SIDE, Bricks
from .cube_table import EDGES, triangle_table
from .mesh import Mesh

_BRICKS_AT_ONCE = 4096


def extract_surface(bricks: Bricks, *, level: float = 0.0) -> Mesh:
    """Marching cubes: triangles between lattice points below and above `level`.

    Values below the level are inside; faces are counter-clockwise seen from above it. Cells with
    an unknown corner stay open. Vertices lie where values interpolated along lattice edges take
    the level, each once; colors are interpolated alike.

    Args:
        bricks: Values such as signed distances.
        level: Finite.

    Reference: see `cube_table`.
    """
    keys = []
    for begin in range(0, len(bricks.coordinates), _BRICKS_AT_ONCE):
        edge_keys = _edge_triangles(bricks, slice(begin, begin + _BRICKS_AT_ONCE), level)
        keys.append(edge_keys.reshape(-1))
    joined = np.concatenate(keys) if keys else np.empty(0, np.int64)
    unique, inverse = np.unique(joined, return_inverse=True)
    vertices, colors = _vertices(bricks, unique, level)
    faces = inverse.reshape(-1, 3)
    first, second, third = (vertices[faces[:, k]] for k in range(3))
    areas = np.linalg.norm(np.cross(second - first, third - first), axis=1)
    solid = (areas > 0) & (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2])
    return Mesh(vertices, faces[solid], colors).keep_faces(np.arange(int(solid.sum())))


def _edge_triangles(bricks: Bricks, rows: slice, level: float) -> np.ndarray:
    """Triangles [T, 3] of some bricks' cells; a corner is `point * 3 + axis` of a lattice edge,
    points being counted through the bricks in order."""
    padded = bricks.padded(rows)
    known, inside = np.isfinite(padded), padded < level
    case = np.zeros((len(padded), SIDE, SIDE, SIDE), np.uint8)
    whole = np.ones_like(case, dtype=bool)
    for corner in range(8):
        x, y, z = corner & 1, corner >> 1 & 1, corner >> 2 & 1
        part = (slice(None), *(slice(o, SIDE + o) for o in (x, y, z)))
        case |= inside[part].astype(np.uint8) << np.uint8(corner)
        whole &= known[part]
    table, counts = triangle_table()
    case[~whole] = 0
    cells = np.flatnonzero(counts[case.reshape(-1)])
    cases = case.reshape(-1)[cells]
    number = counts[cases]
    owner = np.repeat(np.arange(len(cells)), number)
    nth = np.arange(len(owner)) - np.repeat(np.cumsum(number) - number, number)
    edges = table[cases[owner], nth].astype(np.int64)
    return _edge_keys(bricks, rows, cells[owner], edges)


def _edge_keys(bricks: Bricks, rows: slice, cells: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Number of each lattice edge [T, 3] of the cells [T]."""
    starts = np.array([first for first, _ in EDGES])[edges]
    axes = edges // 4
    brick, place = np.divmod(cells, SIDE**3)
    local = np.stack(np.unravel_index(place, (SIDE,) * 3), 1)[:, None]
    offset = np.stack([starts & 1, starts >> 1 & 1, starts >> 2 & 1], 2)
    point = local + offset
    over = point == SIDE
    row = np.broadcast_to((brick + rows.start)[:, None], starts.shape).copy()
    moved = np.flatnonzero(over.any(2))
    if len(moved):
        flat = row.reshape(-1)
        shifted = bricks.coordinates[flat[moved]] + over.reshape(-1, 3)[moved]
        flat[moved] = bricks.find(shifted)
    point = np.where(over, 0, point)
    index = ((row * SIDE + point[..., 0]) * SIDE + point[..., 1]) * SIDE + point[..., 2]
    return index * 3 + axes


def _vertices(
    bricks: Bricks, keys: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray | None]:
    """Positions [V, 3] and colors of the crossings of lattice edges."""
    index, axis = np.divmod(keys, 3)
    row, place = np.divmod(index, SIDE**3)
    local = np.stack(np.unravel_index(place, (SIDE,) * 3), 1)
    step = np.eye(3, dtype=np.int64)[axis]
    ahead = local + step
    over = ahead == SIDE
    next_row = row.copy()
    moved = np.flatnonzero(over.any(1))
    next_row[moved] = bricks.find(bricks.coordinates[row[moved]] + over[moved])
    ahead = np.where(over, 0, ahead)
    here, there = (row, *local.T), (next_row, *ahead.T)
    first, second = bricks.values[here].astype(np.float64), bricks.values[there].astype(np.float64)
    # A crossing keeps off the lattice points, where vertices of several edges would coincide.
    share = ((level - first) / (second - first)).clip(1e-4, 1 - 1e-4)[:, None]
    lattice = bricks.coordinates[row] * SIDE + local + share * step
    positions = bricks.origin + bricks.spacing * lattice
    if bricks.colors is None:
        return positions, None
    colors = bricks.colors[here] * (1 - share) + bricks.colors[there] * share
    return positions, colors.clip(0, 1).astype(np.float32)
