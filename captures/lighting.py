"""Light that does not depend on the eye, baked into one texture per solid.

Soft shadows of area lamps, and an ambient term that is dimmed and tinted by what stands close.
The same fixed light samples serve every texel, so the result is free of noise and repeatable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .atlas import Atlas, Texture
from .patterns import Pattern
from .raycast import Faces, Room, Scalars, Solid, Vectors

SURFACE_OFFSET = 2e-3  # scene units; secondary rays start this far off the surface they leave


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
    for target in samples.T:
        to_light = target[:, None] - starts
        squared = (to_light**2).sum(0)
        directions = to_light / np.sqrt(squared)
        # cos at the surface times cos at the lamp times its area, over pi d^2
        form = (normals * directions).sum(0) * np.abs((lamp.normal * directions).sum(0))
        lit = np.flatnonzero(form > 0)
        distance = _nearest(starts[:, lit], directions[:, lit], blockers)[0]
        visible = distance > np.sqrt(squared[lit])
        total[lit] += visible * form[lit] / (np.pi * squared[lit])
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
    for offset in sphere.T:
        # A unit normal plus a point of the unit sphere is a cosine-weighted direction.
        directions = normals + 0.995 * offset[:, None]
        directions /= np.linalg.norm(directions, axis=0)
        distance, which = _nearest(starts, directions, blockers)
        light += np.where(np.isfinite(distance), room_light * tints[:, which], room_light)
        openness += np.isinf(distance)
    return light / samples, openness / samples


def _nearest(starts, directions, items) -> tuple[Scalars, Faces]:
    """Distance to the nearest item along each ray (inf for none), and which it is."""
    distance = np.full(directions.shape[1], np.inf, np.float32)
    which = np.zeros(directions.shape[1], np.int64)
    for number, item in enumerate(items):
        candidate = item.solid.intersect(starts, directions)
        closer = candidate < distance
        distance[closer], which[closer] = candidate[closer], number
    return distance, which


def _mean_albedo(item: Item) -> Float[np.ndarray, "3"]:
    faces, u, v = Atlas.of(item.solid, 6.0).texel_centers()
    points = item.solid.chart(faces, u, v)
    return item.pattern(faces, u, v, item.solid.to_local(points)).mean(1)


def _on_lamp(points: Vectors, lamp: Lamp) -> np.ndarray:
    """True where surface points of the room lie on the lamp."""
    corners = [np.array(lamp.corner), np.array(lamp.corner) + np.sum(lamp.sides, axis=0)]
    low, high = np.minimum(*corners)[:, None], np.maximum(*corners)[:, None]
    return ((points >= low - 0.02) & (points <= high + 0.02)).all(0)
