"""Random solids of several kinds: blobs, machine parts, vessels, furniture, tubes, creatures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from . import primitives as make
from .primitives import Numbers, Sdf

Rng = np.random.Generator


def procedural_shape(seed: int, kind: str | None = None) -> tuple[str, Sdf]:
    """The kind and the solid of a seed; it fits into about [-1, 1]^3.

    Args:
        seed: Equal seeds give equal shapes, everywhere.
        kind: One of `KINDS`; None takes them in turns.
    """
    chosen = list(KINDS)[seed % len(KINDS)] if kind is None else kind
    if chosen not in KINDS:
        raise ValueError(f"`kind` must be one of {', '.join(KINDS)}, got {kind!r}.")
    rng = np.random.default_rng((seed, list(KINDS).index(chosen)))
    return chosen, make.placed(KINDS[chosen](rng), _turn(rng), (0.0, 0.0, 0.0))


def _turn(rng: Rng) -> Float[np.ndarray, "3 3"]:
    """Upright or lying for half of the shapes, as models are made; any rotation for the rest."""
    if rng.random() < 0.5:
        permutation = np.eye(3)[rng.permutation(3)]
        permutation[0] *= np.linalg.det(permutation)
        return permutation
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q = q * np.sign(np.diag(r))
    q[:, 0] *= np.linalg.det(q)
    return q


def _random_primitive(rng: Rng, size: float) -> Sdf:
    a, b, c = size * rng.uniform(0.5, 1.0, 3)
    choices: list[Callable[[], Sdf]] = [
        lambda: make.ellipsoid((a, b, c)),
        lambda: make.box((a, b, c), rounding=float(rng.choice([0.0, 0.1, 0.3])) * min(a, b, c)),
        lambda: make.frustum(a, a * rng.uniform(0.3, 1.0), b),
        lambda: make.torus(0.7 * a, 0.3 * a * rng.uniform(0.5, 1.0)),
        lambda: make.superquadric((a, b, c), *rng.uniform(0.25, 1.6, 2)),
        lambda: make.extruded(_star(rng, 0.9 * a), 0.5 * b),
    ]
    f = choices[rng.integers(len(choices))]()
    return make.placed(f, _turn(rng), (0.0, 0.0, 0.0))


def _star(rng: Rng, radius: float) -> Float[np.ndarray, "k 2"]:
    """Corners of a regular polygon, a star or a gear."""
    teeth = int(rng.integers(3, 13))
    depth = float(rng.choice([1.0, rng.uniform(0.5, 0.9)]))
    angles = np.arange(2 * teeth) * np.pi / teeth
    radii = np.where(np.arange(2 * teeth) % 2 == 0, radius, radius * depth)
    if depth < 1 and rng.random() < 0.5:  # a gear: flat tops and flat valleys
        angles = np.repeat(angles, 2) + np.tile([-0.35, 0.35], 2 * teeth) * np.pi / teeth / 2
        radii = np.repeat(radii, 2)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _constructed(rng: Rng) -> Sdf:
    """Unions, cuts and intersections of primitives."""
    f = _random_primitive(rng, 0.75)
    for _ in range(int(rng.integers(1, 4))):
        g = make.placed(
            _random_primitive(rng, rng.uniform(0.25, 0.6)), _turn(rng), rng.uniform(-0.5, 0.5, 3)
        )
        choice = rng.random()
        if choice < 0.4:
            f = make.union(f, g)
        elif choice < 0.8:
            f = make.difference(f, g)
        else:
            f = make.blended(f, g, 0.2)
    return f


def _blob(rng: Rng) -> Sdf:
    """A smooth body of ellipsoids."""
    f = make.ellipsoid(tuple(rng.uniform(0.25, 0.6, 3)))
    for _ in range(int(rng.integers(2, 6))):
        g = make.placed(
            make.ellipsoid(tuple(rng.uniform(0.12, 0.4, 3))), _turn(rng), rng.uniform(-0.6, 0.6, 3)
        )
        f = make.blended(f, g, rng.uniform(0.15, 0.4))
    return f


def _creature(rng: Rng) -> Sdf:
    """A body with a head, limbs in pairs and perhaps a tail."""
    body = make.ellipsoid((rng.uniform(0.4, 0.7), rng.uniform(0.2, 0.35), rng.uniform(0.2, 0.4)))
    neck = np.array([rng.uniform(0.45, 0.65), 0, rng.uniform(0.2, 0.5)])
    head = make.placed(make.ellipsoid(tuple(rng.uniform(0.13, 0.28, 3))), np.eye(3), tuple(neck))
    f = make.blended(body, make.tube(np.array([[0.2, 0, 0.05], neck]), 0.1), 0.2)
    f = make.blended(f, head, 0.1)
    radius, length = rng.uniform(0.05, 0.11), rng.uniform(0.4, 0.65)
    for x in (-0.35, 0.3):
        for side in (-1, 1):
            y = side * rng.uniform(0.12, 0.22)
            leg = np.array([[x, y, 0], [x + rng.uniform(-0.1, 0.1), 1.2 * y, -length]])
            f = make.blended(f, make.tube(leg, radius), 0.08)
            if x > 0:
                ear = np.stack(
                    [neck, neck + np.array([-0.05, side * 0.15, rng.uniform(0.15, 0.3)])]
                )
                f = make.blended(f, make.tube(ear, 0.04), 0.05)
    if rng.random() < 0.6:
        tail = np.array([[-0.4, 0, 0.05], [-0.7, 0, rng.uniform(-0.1, 0.4)], [-0.9, 0, 0.3]])
        f = make.blended(f, make.tube(tail, 0.05), 0.08)
    return f


def _vessel(rng: Rng) -> Sdf:
    """A lathe with a stepped or curved outline, hollow or solid, perhaps with a handle."""
    count = int(rng.integers(3, 8))
    heights = np.linspace(-0.8, 0.8, count)
    radii = rng.uniform(0.2, 0.7, count)
    if rng.random() < 0.5:  # curved
        fine = np.linspace(-0.8, 0.8, 24)
        radii = np.interp(fine, heights, radii)
        radii = np.convolve(np.pad(radii, 3, mode="edge"), np.full(7, 1 / 7), mode="valid")
        heights = fine
    elif rng.random() < 0.5:  # stepped
        heights, radii = np.repeat(heights, 2)[1:], np.repeat(radii, 2)[:-1]
    outer = np.stack([radii, heights], axis=1)
    outline = np.concatenate([[[0, heights[0]]], outer, [[0, heights[-1]]]])
    f = make.revolved(outline)
    if rng.random() < 0.5:
        wall = rng.uniform(0.05, 0.12)
        f = make.difference(make.hollow(f, wall), make.placed(
            make.box((1, 1, wall)), np.eye(3), (0, 0, heights[-1])
        ))  # fmt: skip
    if rng.random() < 0.4:
        handle = make.torus(rng.uniform(0.2, 0.3), rng.uniform(0.04, 0.08))
        upright = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
        f = make.union(f, make.placed(handle, upright, (float(radii.mean()) + 0.1, 0, 0)))
    return f


def _part(rng: Rng) -> Sdf:
    """A plate, block or flange with holes, bosses, pockets and ribs."""
    height = rng.uniform(0.08, 0.4)
    if rng.random() < 0.5:
        half = (rng.uniform(0.5, 0.9), rng.uniform(0.4, 0.9), height)
        f = make.box(half, rounding=float(rng.choice([0.0, 0.05])))
    else:
        half = (0.8, 0.8, height)
        f = make.extruded(_star(rng, 0.85), height)
    for _ in range(int(rng.integers(0, 3))):
        place = (*rng.uniform(-0.4, 0.4, 2), height)
        boss = make.frustum(rng.uniform(0.1, 0.25), rng.uniform(0.1, 0.25), rng.uniform(0.1, 0.5))
        f = make.union(f, make.placed(boss, np.eye(3), place))
    holes: list[Sdf] = []
    if rng.random() < 0.7:
        radius = rng.uniform(0.04, 0.11)
        place = (rng.uniform(0.3, 0.6), 0, 0)
        hole = make.placed(make.frustum(radius, radius, 1.5), np.eye(3), place)
        holes.append(make.around(hole, int(rng.integers(2, 9))))
    if rng.random() < 0.6:
        radius = rng.uniform(0.1, 0.3)
        holes.append(make.frustum(radius, radius, 1.5))
    if rng.random() < 0.4:
        pocket = make.box((*rng.uniform(0.1, 0.35, 2), height))
        place = (*rng.uniform(-0.4, 0.4, 2), rng.uniform(0.4, 1.2) * height)
        holes.append(make.placed(pocket, np.eye(3), place))
    f = make.difference(f, *holes) if holes else f
    if rng.random() < 0.3:
        rib = make.box((half[0] * 0.9, 0.06, rng.uniform(0.2, 0.5)))
        f = make.union(f, make.placed(rib, np.eye(3), (0, rng.uniform(-0.4, 0.4), height)))
    return f


def _furniture(rng: Rng) -> Sdf:
    """A slab on legs, perhaps with a back and shelves: thin parallel plates and bars."""
    x, y = rng.uniform(0.4, 0.8, 2)
    top, thick = rng.uniform(-0.1, 0.5), rng.uniform(0.04, 0.09)

    def slab(half: Numbers, center: Numbers) -> Sdf:
        return make.placed(make.box(half), np.eye(3), center)

    parts = [slab((x, y, thick), (0, 0, top))]
    leg, height = rng.uniform(0.04, 0.1), (top + 0.85) / 2
    for sx in (-1, 1):
        for sy in (-1, 1):
            center = (sx * (x - leg), sy * (y - leg), top - height)
            round_leg = make.frustum(0.6 * leg, leg, height)
            parts.append(
                slab((leg, leg, height), center)
                if rng.random() < 0.7
                else make.placed(round_leg, np.eye(3), center)
            )
    if rng.random() < 0.5:
        parts.append(slab((x, thick, (0.9 - top) / 2), (0, y - thick, (0.9 + top) / 2)))
    for _ in range(int(rng.integers(0, 3))):
        parts.append(slab((x, y, 0.6 * thick), (0, 0, rng.uniform(-0.7, top))))
    return make.union(*parts)


def _tubes(rng: Rng) -> Sdf:
    """Bent tubes, knots and springs."""
    choice = rng.random()
    t = np.linspace(0, 2 * np.pi, 48)
    if choice < 0.4:  # a torus knot
        p, q = [(2, 3), (3, 2), (2, 5), (1, 3)][rng.integers(4)]
        r = 0.5 + 0.22 * np.cos(q * t)
        path = np.stack([r * np.cos(p * t), r * np.sin(p * t), 0.25 * np.sin(q * t)], axis=1)
        return make.tube(path, rng.uniform(0.06, 0.12))
    if choice < 0.6:  # a spring
        turns = rng.uniform(2, 4)
        path = np.stack([0.5 * np.cos(turns * t), 0.5 * np.sin(turns * t), 0.25 * t - 0.78], axis=1)
        return make.tube(path, rng.uniform(0.05, 0.1))
    f = make.tube(np.cumsum(rng.uniform(-0.5, 0.5, (5, 3)), axis=0), rng.uniform(0.07, 0.15))
    for _ in range(int(rng.integers(1, 3))):
        path = np.cumsum(rng.uniform(-0.5, 0.5, (4, 3)), axis=0)
        f = make.union(f, make.tube(path, rng.uniform(0.06, 0.14)))
    return f


KINDS: dict[str, Callable[[Rng], Sdf]] = {
    "constructed": _constructed,
    "blob": _blob,
    "part": _part,
    "vessel": _vessel,
    "furniture": _furniture,
    "tubes": _tubes,
    "creature": _creature,
}
"""Kinds of shapes and their makers."""
