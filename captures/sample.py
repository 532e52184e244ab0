"""The embedded sample capture: a still life with exact cameras, depths and a ground-truth mesh."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image

from .cameras import Cameras
from .capture import SparsePoints
from .colmap import write_colmap
from .lighting import Baked, Item, bake, nearest
from .raycast import Origins, Scalars, Vectors, dot, rotate
from .still_life import LAMPS, still_life
from .tessellation import tessellate, write_mesh

DEPTH_UNIT = 1e-3
"""Scene units of one step in the 16-bit depth images; nerfstudio's convention."""

NUM_POINTS = 6000
"""Sparse points, about what structure from motion finds in so many small images."""

_SUBPIXELS = ((-0.375, -0.125), (-0.125, 0.375), (0.125, -0.375), (0.375, 0.125))
"""A rotated grid around the pixel's centre for antialiasing."""

_SMOOTH = 0.045  # sRGB; pixels that differ less from all neighbors need no antialiasing

_WHITE = 2.4  # linear value that the tone curve maps to white


def make_sample_capture(
    folder: str | Path,
    *,
    num_views: int = 48,
    width: int = 320,
    height: int = 240,
    seed: int = 0,
    detail: float = 1.0,
    overwrite: bool = False,
    num_threads: int | None = None,
) -> Path:
    """Writes the sample capture as a COLMAP folder and returns the folder.

    Inside: `images/*.png`; `sparse/0`, exact pinhole cameras and points on the surfaces;
    `depths/*.png`, the exact z-depth of every pixel's centre in steps of 1/1000 scene unit, 16 bit;
    `mesh.ply`, all surfaces with vertex colors. One scene unit is about ten centimetres, z is up
    and the table top is z = 0. The same arguments give the same bytes, with any number of threads.

    Args:
        folder: where to write; made if missing.
        num_views: photos along a spiral that climbs around the table, > 0.
        width: image width in pixels.
        height: image height in pixels.
        seed: chooses the sparse points and the light samples.
        detail: scales the resolution of textures and shadows, > 0; 0.25 suits quick tests.
        overwrite: replace a folder that exists already.
        num_threads: worker threads; None takes all cores.

    Raises:
        FileExistsError: `folder` exists and `overwrite` is off.
        ValueError: a count, size or `detail` is not positive.
    """
    if detail <= 0:
        raise ValueError(f"`detail` must be positive, got {detail}.")
    for name, value in (("num_views", num_views), ("width", width), ("height", height)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
    folder = Path(folder)
    if folder.exists() and not overwrite:
        raise FileExistsError(f"{folder} exists already; choose another folder or pass overwrite.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write_capture(made, spiral_cameras(num_views, width, height), seed, detail, num_threads)
        made.chmod(0o755)  # mkdtemp made it private
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def spiral_cameras(num_views: int, width: int, height: int) -> Cameras:
    """Cameras that look at the table from a spiral of three turns, low to high."""
    share = (torch.arange(num_views, dtype=torch.float64) + 0.5) / num_views
    azimuth = 2 * torch.pi * 3 * share
    elevation = torch.deg2rad(10 + 48 * share)
    distance = 5.6 - 0.5 * share + 0.25 * torch.sin(5 * azimuth)
    ring = distance * torch.cos(elevation)
    target = torch.tensor([0.0, 0.0, 0.5], dtype=torch.float64)
    offsets = [ring * torch.cos(azimuth), ring * torch.sin(azimuth), distance * elevation.sin()]
    positions = torch.stack(offsets, dim=1) + target
    forward = torch.nn.functional.normalize(target - positions, dim=1)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand_as(forward)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=1)
    rotations = torch.stack([right, torch.linalg.cross(forward, right), forward], dim=1)
    viewmats = torch.eye(4, dtype=torch.float64).repeat(num_views, 1, 1)
    viewmats[:, :3, :3] = rotations
    viewmats[:, :3, 3] = -(rotations @ positions[:, :, None])[:, :, 0]
    focal = 0.95 * max(width, height)
    K = torch.tensor(
        [[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=torch.float64
    )
    return Cameras(viewmats, K.repeat(num_views, 1, 1), width, height)


@dataclass(frozen=True)
class SampleScene:
    """The still life with its light baked in, ready to be photographed."""

    items: Sequence[Item]
    """The room comes first; rays that miss all else hit it."""
    baked: Sequence[Baked]
    """Radiance textures, one per item."""

    @classmethod
    def lit(cls, seed: int, pool: ThreadPoolExecutor, *, detail: float = 1.0) -> SampleScene:
        """The scene after baking all light, at `detail` times the items' texel densities."""
        items = [item.at_detail(detail) for item in still_life()]
        jobs = [pool.submit(bake, item, items, LAMPS, seed=seed) for item in items]
        return cls(items, [job.result() for job in jobs])

    def trace(
        self, origins: Origins, directions: Vectors
    ) -> tuple[Scalars, Int[np.ndarray, "N"], Vectors]:
        """Distance, item number and linear RGB seen along unit rays."""
        distance, which = nearest(origins, directions, self.items)
        colors = np.empty_like(directions)
        points = origins + distance * directions
        for number in np.flatnonzero(np.bincount(which)).tolist():
            seen = np.flatnonzero(which == number)
            colors[:, seen] = self.shade(
                number, points.take(seen, axis=1), directions.take(seen, axis=1)
            )
        return distance, which, colors

    def shade(self, number: int, points: Vectors, directions: Vectors) -> Vectors:
        """Linear RGB of one item's surface points: baked light plus the room's reflection."""
        item, baked = self.items[number], self.baked[number]
        faces, u, v = item.solid.coordinates(points)
        color = baked.radiance.sample(faces, u, v)
        if not item.reflectance:
            return color
        normals = item.solid.normal(points)
        cosine = np.minimum(dot(normals, directions), 0)
        mirrored = directions - 2 * cosine * normals
        # Schlick, An Inexpensive BRDF Model, Eurographics 1994, equation 15
        share = item.reflectance + (1 - item.reflectance) * 0.5 * (1 + cosine) ** 5
        openness = baked.openness.sample(faces, u, v)[0]
        return color + share * openness**2 * self._room_radiance(points, mirrored)

    def _room_radiance(self, origins: Origins, directions: Vectors) -> Vectors:
        room = self.items[0].solid
        points = origins + room.intersect(origins, directions) * directions
        return self.baked[0].radiance.sample(*room.coordinates(points))

    def photograph(
        self, camera: Cameras
    ) -> tuple[UInt8[np.ndarray, "H W 3"], Float[np.ndarray, "H W"]]:
        """Antialiased sRGB image and exact z-depth at pixel centres of a single camera.

        One ray per pixel suffices where neighbors look alike; the others get four more.
        Reference: Whitted, An Improved Illumination Model for Shaded Display, CACM 23 (1980).
        """
        shape = (camera.height, camera.width)
        row, column = np.indices(shape, dtype=np.float32).reshape(2, -1) + np.float32(0.5)
        origin, directions, forward = _rays(camera, column, row)
        distance, _, colors = self.trace(origin, directions)
        image = _tone(colors)
        rough = np.flatnonzero(_contrast(image.reshape(3, *shape)) > _SMOOTH)
        across, down = np.array(_SUBPIXELS, np.float32).T[:, :, None]
        rays = _rays(camera, (column[rough] + across).ravel(), (row[rough] + down).ravel())[1]
        more = _tone(self.trace(origin, rays)[2]).reshape(3, len(_SUBPIXELS), -1)
        image[:, rough] = (image[:, rough] + more.sum(1)) / (1 + len(_SUBPIXELS))
        image = np.rint(255 * image).astype(np.uint8)
        return image.T.reshape(*shape, 3), (distance * forward).reshape(shape)


def _contrast(image: Float[np.ndarray, "3 H W"]) -> Scalars:
    """Largest difference of each pixel, in row order, from its four neighbors in any channel."""
    contrast = np.zeros(image.shape[1:], np.float32)
    for axis in (0, 1):
        difference = np.abs(np.diff(image, axis=axis + 1)).max(0)
        for side in (slice(1, None), slice(None, -1)):
            part = contrast[(slice(None),) * axis + (side,)]
            np.maximum(part, difference, out=part)
    return contrast.ravel()


def _rays(camera: Cameras, column: Scalars, row: Scalars) -> tuple[Origins, Vectors, Scalars]:
    """Origin [3, 1], unit world rays through image points, their z in the camera."""
    K = camera.Ks[0].numpy().astype(np.float32)
    camtoworld = camera.camtoworlds[0].numpy().astype(np.float32)
    x, y = (column - K[0, 2]) / K[0, 0], (row - K[1, 2]) / K[1, 1]
    forward = 1 / np.sqrt(x * x + y * y + 1)
    rays = np.stack([x * forward, y * forward, forward])
    return camtoworld[:3, 3:], rotate(camtoworld[:3, :3], rays), forward


def _tone(linear: Vectors) -> Vectors:
    """sRGB in [0, 1] of linear light.

    Reference: Reinhard et al., Photographic Tone Reproduction, SIGGRAPH 2002, equation 4, then the
    sRGB transfer curve of IEC 61966-2-1.
    """
    mapped = np.clip(linear * (1 + linear / _WHITE**2) / (1 + 0.45 * linear), 0, 1)
    return np.where(mapped <= 0.0031308, 12.92 * mapped, 1.055 * mapped ** (1 / 2.4) - 0.055)


def _write_capture(
    folder: Path, cameras: Cameras, seed: int, detail: float, num_threads: int | None
) -> None:
    names = [f"view_{index:03d}.png" for index in range(len(cameras))]
    (folder / "images").mkdir()
    (folder / "depths").mkdir()
    workers = num_threads or os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        scene = SampleScene.lit(seed, pool, detail=detail)

        def write_view(index: int) -> tuple[np.ndarray, np.ndarray]:
            image, depth = scene.photograph(cameras[index])
            Image.fromarray(image).save(folder / "images" / names[index])
            steps = np.rint(depth / DEPTH_UNIT).astype(np.uint16)
            Image.fromarray(steps).save(folder / "depths" / names[index])
            share = -(-NUM_POINTS // len(cameras))
            return _visible_points(cameras[index], image, depth, share, (seed, index))

        seen = list(pool.map(write_view, range(len(cameras))))
    positions, colors = (np.concatenate(part)[:NUM_POINTS] for part in zip(*seen, strict=True))
    points = SparsePoints(torch.from_numpy(positions), torch.from_numpy(colors))
    write_colmap(folder, cameras, names, points)
    write_mesh(folder / "mesh.ply", tessellate(scene.items))


def _visible_points(
    camera: Cameras,
    image: UInt8[np.ndarray, "H W 3"],
    depth: Float[np.ndarray, "H W"],
    count: int,
    seed: tuple[int, int],
) -> tuple[Float[np.ndarray, "M 3"], Float[np.ndarray, "M 3"]]:
    """Surface points behind `count` random pixels, with the pixels' colors."""
    chosen = np.random.default_rng(seed).integers(depth.size, size=count)
    row, column = np.divmod(chosen, camera.width)
    origin, directions, forward = _rays(camera, column + 0.5, row + 0.5)
    positions = origin + depth.ravel()[chosen] / forward * directions
    return positions.T.copy(), image.reshape(-1, 3)[chosen].astype(np.float32) / 255
