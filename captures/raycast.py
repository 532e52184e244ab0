"""Solids that rays hit exactly, each with a chart of its surface for textures and meshes.

Points and directions are float32 arrays [3, N] (one row per axis), which keeps NumPy's inner loops
long. Every solid lives in its own frame, placed in the world by `center` and `rotation`.
A chart maps (face, u, v) with u, v in [0, 1] onto the surface; `chart` and `coordinates` are
inverses of each other, so textures, baked light and tessellations agree with what rays see.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Int

Vectors = Float[np.ndarray, "3 N"]
Origins = Float[np.ndarray, "3 #N"]
Scalars = Float[np.ndarray, "N"]
Faces = Int[np.ndarray, "N"]

SURFACE_TOLERANCE = 2e-5  # scene units; a hundredth of a pixel at a thousand pixels' width

# Plain sums instead of matrix products: BLAS may start threads of its own under our pool.


def dot(first: Origins, second: Origins) -> Scalars:
    """Inner products of columns."""
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]


def rotate(rotation: Float[np.ndarray, "3 3"], vectors: Vectors) -> Vectors:
    """Columns turned by a rotation matrix."""
    return np.stack([dot(row[:, None], vectors) for row in rotation])


@dataclass(frozen=True, kw_only=True, eq=False)
class Solid(ABC):
    """A closed surface with a rigid placement."""

    center: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Origin of the solid's frame in the world."""
    rotation: Float[np.ndarray, "3 3"] = field(default_factory=lambda: np.eye(3, dtype=np.float32))
    """World-from-solid rotation."""

    @property
    @abstractmethod
    def bound(self) -> float:
        """Radius of a sphere about the solid's origin that holds all of it."""

    @property
    @abstractmethod
    def face_sizes(self) -> tuple[tuple[float, float], ...]:
        """Extent of each chart face along u and v where it is largest, in scene units."""

    @abstractmethod
    def local_hit(self, origins: Vectors, directions: Vectors) -> Scalars:
        """Distance along unit rays to the first hit in the solid's frame, inf where they miss."""

    @abstractmethod
    def local_normal(self, points: Vectors) -> Vectors:
        """Unit outward normals at surface points, in the solid's frame."""

    @abstractmethod
    def local_chart(self, faces: Faces, u: Scalars, v: Scalars) -> Vectors:
        """Surface points of chart coordinates, in the solid's frame."""

    @abstractmethod
    def local_coordinates(self, points: Vectors) -> tuple[Faces, Scalars, Scalars]:
        """Chart coordinates (face, u, v) of surface points in the solid's frame."""

    def to_local(self, points: Vectors) -> Vectors:
        """World points in the solid's frame."""
        return rotate(self.rotation.T, points - self._origin)

    def hits(
        self, origins: Origins, directions: Vectors
    ) -> tuple[Int[np.ndarray, "M"], Float[np.ndarray, "M"]]:
        """Numbers of the unit world rays that may hit, and their distances (inf for a miss)."""
        to_center = self._origin - origins
        gap = dot(to_center, to_center) - np.float32(self.bound) ** 2
        # A ray that starts outside of the bounding sphere must head at least for its tangent cone.
        needed = np.where(gap < 0, np.float32(-np.inf), np.sqrt(np.maximum(gap, 0)))
        near = np.flatnonzero(dot(to_center, directions) >= needed)
        if not len(near):
            return near, np.empty(0, np.float32)
        starts = origins if origins.shape[1] == 1 else origins.take(near, axis=1)
        rays = rotate(self.rotation.T, directions.take(near, axis=1))
        return near, self.local_hit(np.broadcast_to(self.to_local(starts), rays.shape), rays)

    def intersect(self, origins: Origins, directions: Vectors) -> Scalars:
        """Distance along unit world rays [3, N] from origins [3, N] or [3, 1]; inf for a miss."""
        distances = np.full(directions.shape[1], np.inf, np.float32)
        near, found = self.hits(origins, directions)
        distances[near] = found
        return distances

    def normal(self, points: Vectors) -> Vectors:
        """Unit outward normals at world surface points."""
        return rotate(self.rotation, self.local_normal(self.to_local(points)))

    def chart(self, faces: Faces, u: Scalars, v: Scalars) -> Vectors:
        """World surface points of chart coordinates."""
        return rotate(self.rotation, self.local_chart(faces, u, v)) + self._origin

    def coordinates(self, points: Vectors) -> tuple[Faces, Scalars, Scalars]:
        """Chart coordinates (face, u, v) of world surface points."""
        return self.local_coordinates(self.to_local(points))

    @property
    def _origin(self) -> Float[np.ndarray, "3 1"]:
        return np.array(self.center, np.float32)[:, None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sphere(Solid):
    """A ball; its chart is longitude by latitude."""

    radius: float

    @property
    def bound(self) -> float:
        return self.radius

    @property
    def face_sizes(self) -> tuple[tuple[float, float], ...]:
        return ((2 * np.pi * self.radius, np.pi * self.radius),)

    def local_hit(self, origins: Vectors, directions: Vectors) -> Scalars:
        half = (origins * directions).sum(0)
        discriminant = half**2 - (origins**2).sum(0) + self.radius**2
        distance = -half - np.sqrt(np.maximum(discriminant, 0))
        return np.where((discriminant >= 0) & (distance > 0), distance, np.float32(np.inf))

    def local_normal(self, points: Vectors) -> Vectors:
        return points / np.linalg.norm(points, axis=0)

    def local_chart(self, faces: Faces, u: Scalars, v: Scalars) -> Vectors:
        longitude, latitude = 2 * np.pi * u - np.pi, np.pi * (v - 0.5)
        ring = self.radius * np.cos(latitude)
        height = self.radius * np.sin(latitude)
        return np.stack([ring * np.cos(longitude), ring * np.sin(longitude), height])

    def local_coordinates(self, points: Vectors) -> tuple[Faces, Scalars, Scalars]:
        x, y, z = points
        v = 0.5 + np.arcsin(np.clip(z / self.radius, -1, 1)) / np.pi
        return _one_face(x), _turn(x, y), v


@dataclass(frozen=True, kw_only=True, eq=False)
class Torus(Solid):
    """A ring about the z axis; with `ring < tube` its outer sheet is an apple with two dimples."""

    ring: float
    """Distance of the tube's centre from the axis."""
    tube: float
    """Radius of the tube."""

    @property
    def bound(self) -> float:
        return self.ring + self.tube

    @property
    def face_sizes(self) -> tuple[tuple[float, float], ...]:
        return ((2 * np.pi * self.bound, 2 * self._half_turn * self.tube),)

    @property
    def _half_turn(self) -> float:
        """Largest tube angle on the outer sheet: where the tube circle meets the axis."""
        return float(np.pi if self.ring >= self.tube else np.arccos(-self.ring / self.tube))

    def _distance(self, points: Vectors) -> Scalars:
        x, y, z = points
        outward = np.sqrt(x * x + y * y) - np.float32(self.ring)
        return np.sqrt(outward * outward + z * z) - np.float32(self.tube)

    def local_hit(self, origins: Vectors, directions: Vectors) -> Scalars:
        along = -(origins * directions).sum(0)
        reach = np.sqrt(np.maximum(along**2 - (origins**2).sum(0) + np.float32(self.bound) ** 2, 0))
        return _sphere_trace(
            self._distance, origins, directions, np.maximum(along - reach, 0), along + reach
        )

    def local_normal(self, points: Vectors) -> Vectors:
        x, y, z = points
        radius = np.maximum(np.hypot(x, y), 1e-9)
        outward = (radius - self.ring) / self.tube
        normals = np.stack([x / radius * outward, y / radius * outward, z / self.tube])
        return normals / np.linalg.norm(normals, axis=0)

    def local_chart(self, faces: Faces, u: Scalars, v: Scalars) -> Vectors:
        around, across = 2 * np.pi * u - np.pi, (2 * v - 1) * self._half_turn
        radius = self.ring + self.tube * np.cos(across)
        return np.stack(
            [radius * np.cos(around), radius * np.sin(around), self.tube * np.sin(across)]
        )

    def local_coordinates(self, points: Vectors) -> tuple[Faces, Scalars, Scalars]:
        x, y, z = points
        across = np.arctan2(z, np.hypot(x, y) - self.ring)
        return _one_face(x), _turn(x, y), np.clip(across / self._half_turn + 1, 0, 2) / 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Lathe(Solid):
    """A surface of revolution about z from z = 0 to `height`, closed by flat caps."""

    height: float
    squared_radii: Float[np.ndarray, "K"]
    """Squared radius at K equidistant heights, joined linearly."""

    SEARCH_STEPS = 24  # misses only chords shorter than 1/24 of the way through the solid
    BISECTIONS = 10  # the last bracket is then cut once more by its chord

    @classmethod
    def from_outline(cls, outline: list[tuple[float, float]], *, smoothing: float = 0.03) -> Lathe:
        """A lathe through (height, radius) corners, rounded over the share `smoothing`."""
        corners = np.array(outline)
        height = float(corners[-1, 0])
        samples = 1024
        squared = np.interp(np.linspace(0, height, samples), corners[:, 0], corners[:, 1] ** 2)
        window = max(1, int(smoothing * samples)) | 1
        for _ in range(3):  # three box filters come close to a Gaussian
            padded = np.pad(squared, window // 2, mode="reflect", reflect_type="odd")
            squared = np.convolve(padded, np.full(window, 1 / window), mode="valid")
        return cls(height=height, squared_radii=np.maximum(squared, 1e-6).astype(np.float32))

    def placed(
        self, center: tuple[float, float, float], rotation: np.ndarray | None = None
    ) -> Lathe:
        """The same solid somewhere else."""
        turned = self.rotation if rotation is None else rotation.astype(np.float32)
        return replace(self, center=center, rotation=turned)

    @property
    def bound(self) -> float:
        heights = np.linspace(0, self.height, len(self.squared_radii))
        return float(np.sqrt((self.squared_radii + heights**2).max())) + 1e-3

    @property
    def face_sizes(self) -> tuple[tuple[float, float], ...]:
        # The cosine spacing stretches the middle by pi / 2.
        return ((2 * np.pi * float(self.squared_radii.max()) ** 0.5, np.pi / 2 * self.height),)

    def _squared_radius(self, z: Scalars) -> tuple[Scalars, Scalars]:
        """Squared radius at heights z, and its derivative."""
        per_unit = np.float32((len(self.squared_radii) - 1) / self.height)
        last = np.float32(len(self.squared_radii) - 1.001)
        position = np.minimum(np.maximum(z * per_unit, 0), last)
        index = position.astype(np.int32)
        step = self.squared_radii[index + 1] - self.squared_radii[index]
        return self.squared_radii[index] + (position - index) * step, step * per_unit

    def local_hit(self, origins: Vectors, directions: Vectors) -> Scalars:
        start, end = self._cylinder_span(origins, directions)
        crossing = np.flatnonzero(end > start)
        start, step = start[crossing], (end - start)[crossing] / self.SEARCH_STEPS
        profile = self._along_rays(origins[:, crossing], directions[:, crossing])
        first = self._first_step_inside(profile, start, step)
        found = np.flatnonzero(first >= 0)
        high = start[found] + first[found] * step[found]
        low = np.maximum(high - step[found], start[found])
        distances = np.full(origins.shape[1], np.inf, np.float32)
        distances[crossing[found]] = self._refined(profile[:, found], low, high)
        return distances

    def _first_step_inside(
        self, profile: Float[np.ndarray, "5 N"], start: Scalars, step: Scalars
    ) -> Int[np.ndarray, "N"]:
        """How many steps each ray takes to get inside, -1 for never."""
        first = np.full(len(start), -1, np.int32)
        searching = np.arange(len(start))
        for k in range(self.SEARCH_STEPS + 1):
            inside = self._outside(profile, start + np.float32(k) * step) < 0
            if inside.any():
                first[searching[inside]] = k
                outside = ~inside
                searching, start, step = searching[outside], start[outside], step[outside]
                profile = profile[:, outside]
        return first

    def _along_rays(self, origins: Vectors, directions: Vectors) -> Float[np.ndarray, "5 N"]:
        """Coefficients a, b, c, z, dz of x^2 + y^2 = (a t + b) t + c and the height z + dz t."""
        (x, y, z), (dx, dy, dz) = origins, directions
        return np.stack([dx * dx + dy * dy, 2 * (x * dx + y * dy), x * x + y * y, z, dz])

    def _outside(self, profile: Float[np.ndarray, "5 N"], distances: Scalars) -> Scalars:
        """Positive outside of the lathe, negative inside."""
        a, b, c, z, dz = profile
        return (a * distances + b) * distances + c - self._squared_radius(z + dz * distances)[0]

    def _refined(self, profile: Float[np.ndarray, "5 N"], low: Scalars, high: Scalars) -> Scalars:
        """The root between `low` (outside) and `high` (inside)."""
        for _ in range(self.BISECTIONS):
            middle = 0.5 * (low + high)
            inside = self._outside(profile, middle) < 0
            low, high = np.where(inside, low, middle), np.where(inside, middle, high)
        before = np.maximum(self._outside(profile, low), 0)
        after = np.minimum(self._outside(profile, high), -1e-12)
        return low + (high - low) * (before / (before - after))

    def _cylinder_span(self, origins: Vectors, directions: Vectors) -> tuple[Scalars, Scalars]:
        """Where rays enter and leave the cylinder that holds the lathe."""
        (x, y, z), (dx, dy, dz) = origins, directions
        dz = np.where(np.abs(dz) < 1e-7, np.float32(1e-7), dz)
        floor, ceiling = -z / dz, (np.float32(self.height) - z) / dz
        a = np.maximum(dx * dx + dy * dy, 1e-9)
        half = (x * dx + y * dy) / a
        root = half**2 - (x * x + y * y - self.squared_radii.max()) / a
        reach = np.sqrt(np.maximum(root, 0))
        start = np.maximum(np.maximum(np.minimum(floor, ceiling), -half - reach), 0)
        end = np.minimum(np.maximum(floor, ceiling), -half + reach)
        return start, np.where(root > 0, end, np.float32(-1))

    def local_normal(self, points: Vectors) -> Vectors:
        x, y, z = points
        normals = np.stack([x, y, -0.5 * self._squared_radius(z)[1]])
        return normals / np.maximum(np.linalg.norm(normals, axis=0), 1e-9)

    def local_chart(self, faces: Faces, u: Scalars, v: Scalars) -> Vectors:
        # Heights are spaced by a cosine so that domes, where the radius changes fast, get texels.
        z = 0.5 * self.height * (1 - np.cos(np.pi * v))
        radius = np.sqrt(self._squared_radius(z)[0])
        around = 2 * np.pi * u - np.pi
        return np.stack([radius * np.cos(around), radius * np.sin(around), z])

    def local_coordinates(self, points: Vectors) -> tuple[Faces, Scalars, Scalars]:
        x, y, z = points
        v = np.arccos(np.clip(1 - 2 * z / self.height, -1, 1)) / np.pi
        return _one_face(x), _turn(x, y), v


@dataclass(frozen=True, kw_only=True, eq=False)
class Box(Solid):
    """A box with rounded edges; its chart has six faces, -x, +x, -y, +y, -z, +z."""

    half: tuple[float, float, float]
    """Half the size along each axis, rounding included."""
    rounding: float = 0.02

    @property
    def bound(self) -> float:
        return float(np.linalg.norm(self.half))

    @property
    def face_sizes(self) -> tuple[tuple[float, float], ...]:
        x, y, z = (2 * extent for extent in self.half)
        return ((y, z), (y, z), (z, x), (z, x), (x, y), (x, y))

    @property
    def _half(self) -> Float[np.ndarray, "3 1"]:
        return np.array(self.half, np.float32)[:, None]

    def _distance(self, points: Vectors) -> Scalars:
        excess = np.abs(points) - (self._half - np.float32(self.rounding))
        outside = np.sqrt((np.maximum(excess, 0) ** 2).sum(0))
        return outside + np.minimum(excess.max(0), 0) - np.float32(self.rounding)

    def _slabs(self, origins: Vectors, directions: Vectors) -> tuple[Scalars, Scalars]:
        """Where rays enter and leave the box without its rounding."""
        safe = np.where(np.abs(directions) < 1e-7, np.float32(1e-7), directions)
        first, second = (-self._half - origins) / safe, (self._half - origins) / safe
        return np.minimum(first, second).max(0), np.maximum(first, second).min(0)

    def local_hit(self, origins: Vectors, directions: Vectors) -> Scalars:
        enter, leave = self._slabs(origins, directions)
        distances = np.full(len(enter), np.inf, np.float32)
        crossing = np.flatnonzero((enter < leave) & (leave > 0))
        start = np.maximum(enter[crossing], 0)
        o, d = origins[:, crossing], directions[:, crossing]
        gap = self._distance(o + start * d)
        distances[crossing] = np.where(gap < SURFACE_TOLERANCE, start, np.float32(np.inf))
        corner = np.flatnonzero(gap >= SURFACE_TOLERANCE)  # only edges need more than one step
        if len(corner):
            distances[crossing[corner]] = _sphere_trace(
                self._distance,
                o[:, corner],
                d[:, corner],
                start[corner],
                leave[crossing[corner]],
            )
        return distances

    def local_normal(self, points: Vectors) -> Vectors:
        excess = np.maximum(np.abs(points) - (self._half - np.float32(self.rounding)), 1e-7)
        normals = np.sign(points) * excess
        return normals / np.linalg.norm(normals, axis=0)

    def local_chart(self, faces: Faces, u: Scalars, v: Scalars) -> Vectors:
        axis, column = faces // 2, np.arange(len(faces))
        points = np.empty((3, len(faces)), np.float32)
        points[axis, column] = np.where(faces % 2, 1, -1)
        points[(axis + 1) % 3, column] = 2 * u - 1
        points[(axis + 2) % 3, column] = 2 * v - 1
        points *= self._half
        if not self.rounding:
            return points
        core = np.clip(points, self.rounding - self._half, self._half - self.rounding)
        offset = points - core
        return core + np.float32(self.rounding) * offset / np.linalg.norm(offset, axis=0)

    def local_coordinates(self, points: Vectors) -> tuple[Faces, Scalars, Scalars]:
        core_half = self._half - np.float32(self.rounding)
        axis, column = (np.abs(points) - core_half).argmax(0), np.arange(points.shape[1])
        core = np.clip(points, -core_half, core_half)
        offset = points - core
        stretch = self.rounding / np.maximum(np.abs(offset).max(0), 1e-7)
        flat = np.clip((core + offset * stretch) / self._half, -1, 1) / 2 + 0.5
        faces = 2 * axis + (points[axis, column] > 0)
        return faces, flat[(axis + 1) % 3, column], flat[(axis + 2) % 3, column]


@dataclass(frozen=True, kw_only=True, eq=False)
class Room(Box):
    """A box seen from within: rays hit its far side, normals point inward."""

    rounding: float = 0.0

    def local_hit(self, origins: Vectors, directions: Vectors) -> Scalars:
        return self._slabs(origins, directions)[1]

    def local_normal(self, points: Vectors) -> Vectors:
        axis, column = (np.abs(points) - self._half).argmax(0), np.arange(points.shape[1])
        normals = np.zeros_like(points)
        normals[axis, column] = -np.sign(points[axis, column])
        return normals


def _one_face(like: Scalars) -> Faces:
    return np.zeros(len(like), np.int64)


def _turn(x: Scalars, y: Scalars) -> Scalars:
    """Angle about z as a share of a turn, in [0, 1]."""
    return (np.arctan2(y, x) + np.pi) / (2 * np.pi)


def _sphere_trace(distance, origins, directions, start, end, *, steps: int = 64) -> Scalars:
    """First root of a signed distance along rays between `start` and `end`, inf without one.

    Reference: Hart, Sphere Tracing, The Visual Computer 12 (1996).
    """
    result = np.full(len(start), np.inf, np.float32)
    active = np.flatnonzero(end > start)
    at, end = start[active], end[active]
    origins, directions = origins[:, active], directions[:, active]
    for _ in range(steps):
        gap = distance(origins + at * directions)
        hit = gap < SURFACE_TOLERANCE
        result[active[hit]] = at[hit]
        at = at + gap
        going = ~hit & (at < end)
        if not going.all():
            active, at, end = active[going], at[going], end[going]
            origins, directions = origins[:, going], directions[:, going]
        if not len(active):
            break
    return result
