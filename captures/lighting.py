"""Light that does not depend on the eye, baked into one texture per solid.

Soft shadows of area lamps, and an ambient term that is dimmed and tinted by what stands close.
The same fixed light samples serve every texel, so the result is free of noise and repeatable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from .atlas import Atlas, Texture
from .patterns import Pattern
from .raycast import Faces, Origins, Room, Scalars, Solid, Vectors, dot

SURFACE_OFFSET = 2e-3  # scene units; secondary rays start this far off the surface they leave

_BATCH = 2**15  # rays at a time: long inner loops that still stay in the cache


@dataclass(frozen=True)
class Lamp:
    """A glowing rectangle."""

    corner: tuple[float, float, float]
    """One corner in the world."""
    sides: tuple[tuple[float, float, float], tuple[float, float, float]]
    """The two edges that leave the corner."""
    radiance: tuple[float, float, float]
    """Linear RGB sent out by every point to every side."""
    samples: int = 5
    """Rows and columns of light samples."""

    def points(self, rng: np.random.Generator) -> Vectors:
        """Stratified points on the lamp."""
        cells = np.stack(np.meshgrid(*[np.arange(self.samples)] * 2), -1).reshape(-1, 2)
        shares = (cells + rng.random(cells.shape)) / self.samples
        return (np.array(self.corner) + shares @ np.array(self.sides)).T.astype(np.float32)

    @property
    def normal(self) -> Float[np.ndarray, "3 1"]:
        """Unit normal times the area."""
        return np.cross(*self.sides).astype(np.float32)[:, None]


@dataclass(frozen=True)
class Item:
    """A solid with its looks."""

    name: str
    solid: Solid
    pattern: Pattern
    density: float = 56.0
    """Texels of the radiance texture per scene unit."""
    light_density: float = 24.0
    """Texels per scene unit at which light is computed before it is interpolated."""
    reflectance: float = 0.0
    """Mirror reflectance at normal incidence; 0.04 is glazed or polished."""

    def at_detail(self, detail: float) -> Item:
        """The same item with both densities times `detail`."""
        densities = detail * self.density, detail * self.light_density
        return replace(self, density=densities[0], light_density=densities[1])


@dataclass(frozen=True)
class Baked:
    """What `bake` computed for one item."""

    radiance: Texture
    """Diffuse and emitted linear RGB."""
    openness: Texture
    """Share of the room seen from each texel, one channel; it dims reflections."""


def bake(item: Item, items: Sequence[Item], lamps: Sequence[Lamp], *, seed: int) -> Baked:
    """Diffuse radiance of `item` lit by `lamps` among `items`."""
    solid = item.solid
    coarse = Atlas.of(solid, item.light_density)
    faces, u, v = coarse.texel_centers()
    points = solid.chart(faces, u, v)
    normals = solid.normal(points)
    starts = points + SURFACE_OFFSET * normals
    blockers = [other for other in items if not isinstance(other.solid, Room)]
    rng = np.random.default_rng(seed)
    ambient, openness = _ambient(starts, normals, blockers, rng)
    light = ambient + sum(_direct(starts, normals, blockers, lamp, rng) for lamp in lamps)
    light_texture = Texture(coarse, light.T)
    fine = Atlas.of(solid, item.density)
    faces, u, v = fine.texel_centers()
    points = solid.chart(faces, u, v)
    albedo = item.pattern(faces, u, v, solid.to_local(points))
    radiance = albedo * light_texture.sample(faces, u, v)
    if isinstance(solid, Room):
        for lamp in lamps:
            radiance = np.where(_on_lamp(points, lamp), np.array(lamp.radiance)[:, None], radiance)
    return Baked(Texture(fine, radiance.T.astype(np.float32)), Texture(coarse, openness[:, None]))


def _direct(starts, normals, blockers, lamp: Lamp, rng) -> Vectors:
    """Irradiance / pi from one lamp, shadows included."""
    total = np.zeros(starts.shape[1], np.float32)
    samples = lamp.points(rng)
    for targets in _batches(samples, starts.shape[1]):
        to_light = (targets[:, :, None] - starts[:, None]).reshape(3, -1)
        squared = dot(to_light, to_light)
        directions = to_light / np.sqrt(squared)
        # cos at the surface times cos at the lamp times its area, over pi d^2
        form = dot(np.tile(normals, targets.shape[1]), directions)
        form = form * np.abs(dot(lamp.normal, directions)) / (np.pi * squared)
        lit = np.flatnonzero(form > 0)
        texels = lit % starts.shape[1]
        visible = _unblocked(starts[:, texels], directions[:, lit], blockers)
        form[form < 0] = 0
        form[lit[~visible]] = 0
        total += form.reshape(targets.shape[1], -1).sum(0)
    return np.array(lamp.radiance, np.float32)[:, None] * total / samples.shape[1]


def _ambient(starts, normals, blockers, rng, *, samples: int = 24) -> tuple[Vectors, Scalars]:
    """Cosine-weighted light of the room, tinted by close neighbours, and the share of open sky."""
    room_light = np.array([0.36, 0.35, 0.34], np.float32)[:, None]
    light, openness = np.zeros_like(starts), np.zeros(starts.shape[1], np.float32)
    index = np.arange(samples) + 0.5
    height, turn = 1 - 2 * index / samples, index * np.pi * (3 - np.sqrt(5)) + rng.random()
    tints = np.stack([_mean_albedo(item) for item in blockers], axis=1) * 0.45
    ring = np.sqrt(1 - height**2)
    sphere = np.stack([ring * np.cos(turn), ring * np.sin(turn), height]).astype(np.float32)
    for offsets in _batches(sphere, starts.shape[1]):
        # A unit normal plus a point of the unit sphere is a cosine-weighted direction.
        shape = (offsets.shape[1], starts.shape[1])
        directions = (normals[:, None] + 0.995 * offsets[:, :, None]).reshape(3, -1)
        directions /= np.sqrt(dot(directions, directions))
        distance, which = nearest(np.tile(starts, shape[0]), directions, blockers)
        seen = np.where(np.isfinite(distance), room_light * tints[:, which], room_light)
        light += seen.reshape(3, *shape).sum(1)
        openness += np.isinf(distance).reshape(shape).sum(0)
    return light / samples, openness / samples


def _batches(samples: Vectors, num_texels: int) -> Iterator[Vectors]:
    """The samples in groups that, times all texels, make one batch of rays each."""
    size = max(1, _BATCH // num_texels)
    for start in range(0, samples.shape[1], size):
        yield samples[:, start : start + size]


def nearest(origins: Origins, directions: Vectors, items: Sequence[Item]) -> tuple[Scalars, Faces]:
    """Distance to the nearest item along unit rays (inf for none), and which it is."""
    distance = np.full(directions.shape[1], np.inf, np.float32)
    which = np.zeros(directions.shape[1], np.int64)
    for number, item in enumerate(items):
        near, candidate = item.solid.hits(origins, directions)
        closer = candidate < distance[near]
        near = near[closer]
        distance[near], which[near] = candidate[closer], number
    return distance, which


def _unblocked(starts: Vectors, directions: Vectors, blockers: Sequence[Item]) -> np.ndarray:
    """True for rays that reach the lamps; these hang on the walls, so whatever is hit shades."""
    free = np.ones(directions.shape[1], bool)
    for item in blockers:
        near, distance = item.solid.hits(starts, directions)
        free[near[np.isfinite(distance)]] = False
    return free


@lru_cache(maxsize=64)
def _mean_albedo(item: Item) -> Float[np.ndarray, "3"]:
    faces, u, v = Atlas.of(item.solid, 6.0).texel_centers()
    points = item.solid.chart(faces, u, v)
    return item.pattern(faces, u, v, item.solid.to_local(points)).mean(1)


def _on_lamp(points: Vectors, lamp: Lamp) -> np.ndarray:
    """True where surface points of the room lie on the lamp."""
    corners = [np.array(lamp.corner), np.array(lamp.corner) + np.sum(lamp.sides, axis=0)]
    low, high = np.minimum(*corners)[:, None], np.maximum(*corners)[:, None]
    return ((points >= low - 0.02) & (points <= high + 0.02)).all(0)
