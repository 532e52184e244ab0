"""Procedural surface colours: noise, wood, cloth, fruit, porcelain and the like.

A pattern maps chart coordinates (face, u, v) and the point in the solid's own frame to linear RGB
albedo, rows of a float32 array [3, N].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from .raycast import Faces, Origins, Scalars, Vectors

Pattern = Callable[[Faces, Scalars, Scalars, Vectors], Vectors]


def rgb(code: str) -> Float[np.ndarray, "3 1"]:
    """Linear RGB of an sRGB hex code such as "c08040"."""
    srgb = np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)], np.float32) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)[:, None]


def blend(first: Origins, second: Origins, share: Scalars) -> Vectors:
    """`first` where `share` is 0, `second` where it is 1."""
    return first + (second - first) * share


def step(value: Scalars, edge: int | float | Scalars, softness: float) -> Scalars:
    """0 below `edge`, 1 above, with a smooth passage `softness` wide."""
    ramp = np.clip((value - edge) / softness + 0.5, 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


@lru_cache(maxsize=16)
def _lattice(seed: int) -> Float[np.ndarray, "32768"]:
    return np.random.default_rng(seed).random(32**3, dtype=np.float32)


def noise(points: Vectors, scale: int | float, *, seed: int, octaves: int = 3) -> Scalars:
    """Fractal value noise in [0, 1]; features of the first octave are 1 / `scale` long.

    Reference: Perlin and Hoffert, Hypertexture, SIGGRAPH 1989, with lattice values for gradients.
    """
    total, weight = np.zeros(points.shape[1], np.float32), 0.0
    for octave in range(octaves):
        position = points * np.float32(scale * 2**octave) + np.float32(7.3 * octave + 100)
        cell = np.floor(position)
        fraction = position - cell
        fraction = fraction * fraction * (3 - 2 * fraction)
        low = cell.astype(np.int32) & 31
        high = (low + 1) & 31
        x0, y0, z0 = low[0] * 1024, low[1] * 32, low[2]
        x1, y1, z1 = high[0] * 1024, high[1] * 32, high[2]
        lattice = _lattice(seed + octave)
        a, b, c = fraction
        near = _mix(lattice[x0 + y0 + z0], lattice[x1 + y0 + z0], a)
        near = _mix(near, _mix(lattice[x0 + y1 + z0], lattice[x1 + y1 + z0], a), b)
        far = _mix(lattice[x0 + y0 + z1], lattice[x1 + y0 + z1], a)
        far = _mix(far, _mix(lattice[x0 + y1 + z1], lattice[x1 + y1 + z1], a), b)
        total += _mix(near, far, c) * np.float32(0.5**octave)
        weight += 0.5**octave
    return total / np.float32(weight)


def _mix(first: Scalars, second: Scalars, share: Scalars) -> Scalars:
    return first + (second - first) * share


@dataclass(frozen=True)
class Plain:
    """One colour with a little mottling."""

    color: str
    mottle: float = 0.15
    scale: float = 4.0
    seed: int = 1

    def __call__(self, faces: Faces, u: Scalars, v: Scalars, points: Vectors) -> Vectors:
        return rgb(self.color) * (
            1 + self.mottle * (2 * noise(points, self.scale, seed=self.seed) - 1)
        )


@dataclass(frozen=True)
class Wood:
    """Planks along x with grain, knots and dark joints."""

    light: str = "b07a45"
    dark: str = "6e4424"
    plank: float = 0.6
    """Width of a plank in scene units."""
    seed: int = 3

    def __call__(self, faces: Faces, u: Scalars, v: Scalars, points: Vectors) -> Vectors:
        x, y, z = points
        across = y / self.plank
        number = np.floor(across)
        shifted = np.stack([x * 0.35 + 13.7 * number, y * 1.5, z * 1.5 + 5.1 * number])
        warp = noise(shifted, 1.6, seed=self.seed)
        rings = 0.5 + 0.5 * np.sin(34 * (warp + 0.35 * (across - number)))
        fibers = noise(np.stack([x * 0.5, y * 14, z * 14]), 1.6, seed=self.seed + 1)
        tone = noise(np.stack([13 * number, number, 0 * x]), 1.37, seed=self.seed + 2, octaves=1)
        color = blend(rgb(self.light), rgb(self.dark), 0.55 * rings + 0.35 * fibers)
        joint = step(np.minimum(across - number, 1 - (across - number)), 0.022, 0.02)
        return color * (0.7 + 0.6 * tone) * (0.25 + 0.75 * joint)


@dataclass(frozen=True)
class Cloth:
    """A woven checked cloth with a border, laid askew on what lies under it."""

    under: Pattern
    half: float
    """Half the length of the cloth's side."""
    angle: float
    """Rotation about z in radians."""

    def __call__(self, faces: Faces, u: Scalars, v: Scalars, points: Vectors) -> Vectors:
        base = self.under(faces, u, v, points)
        x, y, _ = points
        along = x * np.cos(self.angle) + y * np.sin(self.angle)
        across = y * np.cos(self.angle) - x * np.sin(self.angle)
        reach = np.maximum(np.abs(along), np.abs(across))
        bands = step(np.sin(along * 11), 0, 0.25) + step(np.sin(across * 11), 0, 0.25)
        check = blend(rgb("f2eadb"), rgb("8f2f35"), bands / 2)
        weave = 1 + 0.12 * np.sin(along * 150) * np.sin(across * 150)
        check = check * weave * (0.85 + 0.3 * noise(points, 3.0, seed=21))
        border = step(reach, self.half - 0.16, 0.02) * (1 - step(reach, self.half - 0.08, 0.02))
        check = blend(check, rgb("24385c"), border)
        on_top = (faces == 5) & (reach < self.half)
        return np.where(on_top, check, base)


@dataclass(frozen=True)
class Orange:
    """Orange peel: pores and a pale pole."""

    color: str = "f08a1c"
    seed: int = 31

    def __call__(self, faces: Faces, u: Scalars, v: Scalars, points: Vectors) -> Vectors:
        pores = noise(points, 30, seed=self.seed, octaves=2)
        patches = noise(points, 4, seed=self.seed + 3)
        color = blend(rgb(self.color), rgb("d9650c"), patches)
        stem = 1 - step(1 - v, 0.04, 0.03)
        return blend(color * (0.72 + 0.5 * pores), rgb("5c6b24"), stem)


@dataclass(frozen=True)
class Apple:
    """Red streaks over yellow green, from pole to pole."""

    seed: int = 41

    def __call__(self, faces: Faces, u: Scalars, v: Scalars, points: Vectors) -> Vectors:
        x, y, z = points
        around = np.hypot(x, y) + 1e-6
        direction = np.stack([x / around, y / around, 0.25 * z])
        streaks = noise(direction, 7, seed=self.seed, octaves=4)
        blush = noise(points, 1.8, seed=self.seed + 5, octaves=2)
        color = blend(rgb("d8c648"), rgb("a81c22"), step(streaks + blush, 0.85, 0.45))
        dots = step(noise(points, 26, seed=self.seed + 7, octaves=1), 0.86, 0.08)
        return blend(color, rgb("ead9a0"), 0.6 * dots)


@dataclass(frozen=True)
class Porcelain:
    """White glaze with painted bands, a row of lobes and scattered leaves."""

    paint: str = "1f3f8f"
    lobes: int = 10
    seed: int = 51

    def __call__(self, faces: Faces, u: Scalars, v: Scalars, points: Vectors) -> Vectors:
        edges = np.zeros_like(v)
        for height in (0.1, 0.14, 0.3, 0.68, 0.72, 0.84):
            edges = np.maximum(edges, 1 - step(np.abs(v - height), 0.008, 0.008))
        wave = 0.38 + 0.07 * np.abs(np.sin(np.pi * self.lobes * u))
        petals = step(v, 0.31, 0.01) * (1 - step(v, wave, 0.012))
        inner = step(v, 0.31, 0.01) * (1 - step(v, wave - 0.03, 0.012))
        turn = 2 * np.pi * u
        vine = np.stack([np.cos(turn), np.sin(turn), 2.5 * v])
        leaves = step(noise(vine, 5.5, seed=self.seed, octaves=2), 0.6, 0.05)
        leaves = leaves * step(v, 0.48, 0.01) * (1 - step(v, 0.66, 0.01))
        diamonds = np.abs(np.sin(np.pi * self.lobes * u)) + np.abs(np.sin(np.pi * 12 * v))
        collar = step(diamonds, 1.0, 0.12) * step(v, 0.73, 0.01) * (1 - step(v, 0.83, 0.01))
        share = np.maximum.reduce([edges, petals - 0.65 * inner, leaves, collar])
        glaze = rgb("f1efe6") * (0.93 + 0.1 * noise(points, 3, seed=self.seed + 2))
        return blend(glaze, rgb(self.paint), np.clip(share, 0, 1))


@dataclass(frozen=True)
class Doughnut:
    """Dough below a wavy line, icing with sprinkles above it."""

    icing: str = "e88fb0"
    seed: int = 61

    def __call__(self, faces: Faces, u: Scalars, v: Scalars, points: Vectors) -> Vectors:
        dough = rgb("b9793a") * (0.75 + 0.5 * noise(points, 7, seed=self.seed))
        icing = rgb(self.icing) * (0.92 + 0.14 * noise(points, 5, seed=self.seed + 2))
        rng = np.random.default_rng(self.seed)
        for code in ("f7f3e3", "f4d03f", "4aa3df", "7bc96f", "8e4ec6"):
            for around, across, tilt in rng.random((16, 3)):
                du = ((u - around + 0.5) % 1 - 0.5) * 5.0
                dv = (v - (0.52 + 0.42 * across)) * 2.2
                angle = np.pi * tilt
                along = np.abs(du * np.cos(angle) + dv * np.sin(angle))
                aside = np.abs(dv * np.cos(angle) - du * np.sin(angle))
                icing = np.where((along < 0.075) & (aside < 0.022), rgb(code), icing)
        wobble = noise(np.stack([np.cos(2 * np.pi * u), np.sin(2 * np.pi * u), 0 * u]), 2.5, seed=5)
        return blend(dough, icing, step(points[2], 0.25 * (wobble - 0.55), 0.02))


@dataclass(frozen=True)
class Book:
    """A cover with bands and a panel of ornament; pages on the three open sides."""

    cover: str
    ornament: str
    half: tuple[float, float, float]
    seed: int = 71

    def __call__(self, faces: Faces, u: Scalars, v: Scalars, points: Vectors) -> Vectors:
        x, y, z = points
        grain = 0.8 + 0.4 * noise(points, 18, seed=self.seed, octaves=2)
        color = rgb(self.cover) * grain
        a, b = x / self.half[0], y / self.half[1]
        frame = np.maximum(np.abs(a), np.abs(b))
        ring = step(frame, 0.78, 0.02) * (1 - step(frame, 0.85, 0.02))
        flower = np.sin(7 * np.arctan2(b, a)) * 0.12 + np.hypot(a, b)
        medal = (1 - step(flower, 0.45, 0.03)) * step(flower, 0.33, 0.03)
        medal = np.maximum(medal, 1 - step(flower, 0.15, 0.03))
        spine = (faces == 2) * step(np.sin(9 * a + self.seed), 0.75, 0.1)
        share = np.where(faces >= 4, np.maximum(ring, medal), spine)
        color = blend(color, rgb(self.ornament), share)
        paper = rgb("e9dfc6") * (0.8 + 0.25 * np.sin(z * 260) + 0.1 * noise(points, 30, seed=9))
        inside = np.abs(z) < self.half[2] - 0.045
        return np.where((faces < 4) & (faces != 2) & inside, paper, color)


@dataclass(frozen=True)
class PuzzleCube:
    """Coloured stickers, three by three on each face."""

    seed: int = 81

    def __call__(self, faces: Faces, u: Scalars, v: Scalars, points: Vectors) -> Vectors:
        codes = ("c62828", "e07a1f", "1e6fd0", "2e9a4a", "f2f0ea", "f3cf2f")
        palette = np.concatenate([rgb(code) for code in codes], axis=1)
        shuffled = np.random.default_rng(self.seed).permutation(np.arange(54) % 6)
        cell_u, cell_v = np.minimum((u * 3).astype(int), 2), np.minimum((v * 3).astype(int), 2)
        color = palette[:, shuffled[faces * 9 + cell_u * 3 + cell_v]]
        off = np.maximum(np.abs(u * 3 - cell_u - 0.5), np.abs(v * 3 - cell_v - 0.5))
        return blend(color, rgb("141414"), step(off, 0.42, 0.03))


@dataclass(frozen=True)
class Stripes:
    """Two colours in bands from pole to pole, for a ball."""

    first: str
    second: str
    count: int = 6

    def __call__(self, faces: Faces, u: Scalars, v: Scalars, points: Vectors) -> Vectors:
        bands = step(np.sin(2 * np.pi * self.count * u), 0, 0.15)
        color = blend(rgb(self.first), rgb(self.second), bands)
        return blend(color, rgb("f5efe0"), step(np.abs(v - 0.5), 0.42, 0.01))


@dataclass(frozen=True)
class RoomPaint:
    """Plank floor, papered walls with pictures and a skirting, plain ceiling."""

    half: tuple[float, float, float]
    seed: int = 91

    def __call__(self, faces: Faces, u: Scalars, v: Scalars, points: Vectors) -> Vectors:
        x, y, z = points
        color = np.repeat(rgb("d8d3c8"), len(x), axis=1)
        floor, wall = np.flatnonzero(faces == 4), np.flatnonzero(faces < 4)
        planks = Wood("8f6a48", "4d3320", plank=0.9, seed=self.seed)
        color[:, floor] = planks(faces[floor], u[floor], v[floor], points[:, floor])
        along = np.where(faces < 2, y, x)
        color[:, wall] = self._wall(faces[wall], along[wall], z[wall], points[:, wall])
        return color

    def _wall(self, faces: Faces, along: Scalars, z: Scalars, points: Vectors) -> Vectors:
        tint = np.concatenate(
            [rgb(c) for c in ("6f8f8a", "7d8c6b", "8a7f9a", "a3876c")] * 2, axis=1
        )
        base = tint[:, faces] * (0.85 + 0.3 * noise(points, 0.7, seed=self.seed + 2))
        lattice = np.abs(np.sin(1.9 * along + 1.9 * z)) * np.abs(np.sin(1.9 * along - 1.9 * z))
        paper = blend(base, base * 1.35, step(lattice, 0.55, 0.2))
        skirting = 1 - step(z, -self.half[2] + 1.1, 0.04)
        color = blend(paper, rgb("e4ddcf") * (0.9 + 0.2 * noise(points, 2, seed=4)), skirting)
        rng = np.random.default_rng(self.seed)
        for face in range(4):
            for slot in range(3):
                middle, height = -4.2 + 4.2 * slot + rng.uniform(-0.5, 0.5), rng.uniform(0.0, 1.6)
                size = rng.uniform(0.8, 1.35, 2)
                a, b = (along - middle) / size[0], (z - height) / size[1]
                reach = np.maximum(np.abs(a), np.abs(b))
                inside = np.flatnonzero((faces == face) & (reach < 1))
                color[:, inside] = _picture(a[inside], b[inside], reach[inside], rng)
        return color


def _picture(a: Scalars, b: Scalars, reach: Scalars, rng: np.random.Generator) -> Vectors:
    """A framed abstract painting over [-1, 1] x [-1, 1]."""
    place = np.stack([a, b, np.full_like(a, rng.uniform(0, 20))])
    seed = int(rng.integers(1000))
    colors = rng.uniform(0.02, 0.75, (3, 3, 1)).astype(np.float32)
    field = noise(place, 1.2, seed=seed, octaves=2) + 0.35 * b
    paint = blend(colors[0], colors[1], step(field, 0.45, 0.06))
    disk = np.hypot(a - rng.uniform(-0.4, 0.4), b - rng.uniform(-0.2, 0.4))
    paint = blend(paint, colors[2], 1 - step(disk, rng.uniform(0.2, 0.45), 0.03))
    paint = paint * (0.75 + 0.5 * noise(place, 7, seed=seed + 9, octaves=2))
    mat = blend(paint, rgb("ece6d8"), step(reach, 0.74, 0.02))
    return blend(mat, rgb("3a2718"), step(reach, 0.9, 0.02))
