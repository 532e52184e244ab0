"""Points to register, from arrays, Open3D, trimesh, splats and files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from splats import Gaussians

MESH_SAMPLES = 100_000
"""Points taken evenly from the surface of a mesh."""


@dataclass(frozen=True)
class Cloud:
    """N points of one rigid scene in one frame."""

    points: NDArray[np.float64]
    """[N, 3], finite, in the units of the file."""
    colors: NDArray[np.float32] | None = None
    """[N, 3] in [0, 1]; None where the source has none."""
    weights: NDArray[np.float32] | None = None
    """[N], how much surface a point stands for; None where all count alike."""
    gaussians: Gaussians | None = None
    """What the points were taken from, if that was a splat scene."""

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: Any) -> Cloud:
        """The chosen points, in the order of `index` (bool mask, integers or slice)."""
        return replace(
            self,
            points=self.points[index],
            colors=None if self.colors is None else self.colors[index],
            weights=None if self.weights is None else self.weights[index],
        )


def as_cloud(data: Any, *, name: str = "source") -> Cloud:
    """`data` as points with colors where it has any; points that are not finite are left out.

    Args:
        data: An array or tensor [N, 3] or [N, 6] (x, y, z, r, g, b), an Open3D point cloud
            (legacy or tensor), a trimesh point cloud or mesh, `Gaussians`, a `Cloud`, or the path
            of a file (see `cloud_files.read_cloud`).
        name: The argument's name, for messages.

    Raises:
        TypeError: `data` is none of these.
        ValueError: A wrong shape, or no finite point.
        FileNotFoundError: The path does not exist.
    """
    cloud = _convert(data, name)
    finite = np.isfinite(cloud.points).all(axis=1)
    if not finite.all():
        cloud = cloud[finite]
    if len(cloud) == 0:
        raise ValueError(f"`{name}` holds no finite points; expected at least 3.")
    return cloud


def _convert(data: Any, name: str) -> Cloud:
    if isinstance(data, Cloud):
        return data
    if isinstance(data, Gaussians):
        from .splat_clouds import cloud_of_gaussians

        return cloud_of_gaussians(data)
    if isinstance(data, str | Path):
        from .cloud_files import read_cloud

        return read_cloud(Path(data))
    if isinstance(data, torch.Tensor):
        data = data.detach().cpu().numpy()
    if isinstance(data, np.ndarray | list | tuple):
        return _of_array(np.asarray(data), name)
    module = type(data).__module__.split(".")[0]
    if module == "open3d":
        return _of_open3d(data)
    if module == "trimesh":
        return _of_trimesh(data)
    raise TypeError(
        f"`{name}` must be an [N, 3] array, an Open3D or trimesh object, Gaussians or a path, "
        f"got {type(data).__name__}."
    )


def _of_array(array: NDArray[Any], name: str) -> Cloud:
    if array.dtype.kind not in "fiu":
        raise TypeError(f"`{name}` must hold numbers, got an array of {array.dtype}.")
    if array.ndim != 2 or array.shape[1] not in (3, 6):
        raise ValueError(
            f"`{name}` must be [N, 3] (x, y, z) or [N, 6] (x, y, z, r, g, b), "
            f"got {list(array.shape)}."
        )
    colors = unit_colors(array[:, 3:]) if array.shape[1] == 6 else None
    return Cloud(np.array(array[:, :3], np.float64), colors)


def unit_colors(colors: NDArray[Any]) -> NDArray[np.float32]:
    """Colors [N, 3+] of any range as float32 [N, 3] in [0, 1]: integers by their type, floats
    above 1 as bytes."""
    if colors.dtype.kind in "iu":
        largest = float(np.iinfo(colors.dtype).max)
    else:
        largest = 255.0 if np.nanmax(colors, initial=0.0) > 1.0 else 1.0
    return np.clip(colors[:, :3].astype(np.float32) / np.float32(largest), 0, 1)


def _of_open3d(data: Any) -> Cloud:
    if hasattr(data, "to_legacy"):
        data = data.to_legacy()
    if hasattr(data, "triangles"):
        data = data.sample_points_uniformly(MESH_SAMPLES, seed=0)
    colors = np.asarray(data.colors, np.float32) if data.has_colors() else None
    return Cloud(np.array(data.points, np.float64), colors)


def _of_trimesh(data: Any) -> Cloud:
    if hasattr(data, "to_geometry"):
        data = data.to_geometry()
    if len(getattr(data, "faces", ())):
        import trimesh

        points, _ = trimesh.sample.sample_surface(data, MESH_SAMPLES, seed=0)[:2]
        return Cloud(np.array(points, np.float64))
    colors = getattr(data, "colors", None)
    usable = colors is not None and len(colors) == len(data.vertices)
    return Cloud(
        np.array(data.vertices, np.float64), unit_colors(np.asarray(colors)) if usable else None
    )
