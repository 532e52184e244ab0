"""LLFF scenes: `poses_bounds.npy` beside a folder of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .lenses import Lens
from .photos import IMAGE_SUFFIXES, Photo, PhotoSet, image_folder, reduced_lens, with_sibling_masks


def load_llff(folder: Path, *, downscale: int | float | None = None) -> PhotoSet:
    """The photos of an LLFF scene; row i of `poses_bounds.npy` belongs to image i by sorted name.

    A row is a 3 x 5 matrix (rotation with the camera's down, right and backward axes as columns,
    position, then height, width and focal length in pixels) and the near and far bounds, which
    are not used. Reference: https://github.com/Fyusion/LLFF, "Using your own poses".

    Raises:
        ValueError: The array has another shape, holds NaN, or another number of rows than images.
        FileNotFoundError: There are no images.
    """
    path = folder / "poses_bounds.npy"
    poses = _read_poses(path)
    images, factor = image_folder(folder, downscale)
    files = sorted(
        file
        for file in images.iterdir()
        if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()
    )
    if not files:
        raise FileNotFoundError(f"{images} holds no images for the {len(poses)} poses of {path}.")
    if len(files) != len(poses):
        raise ValueError(f"{path} has {len(poses)} poses, but {images} holds {len(files)} images.")
    photos = []
    for file, pose in zip(files, poses, strict=True):
        height, width, focal = pose[:, 4].tolist()
        lens = Lens(round(width), round(height), focal, focal, width / 2, height / 2)
        if factor != 1:
            lens = reduced_lens(lens, factor, file)
        photos.append(Photo(file.name, file, _viewmat(pose), lens))
    return PhotoSet("LLFF", with_sibling_masks(photos, folder), reduced_by=factor)


def _read_poses(path: Path) -> Float[Tensor, "N 3 5"]:
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path} is not a plain .npy array: {error}.") from error
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.shape[1] not in (15, 17):
        found = list(getattr(values, "shape", ()))
        raise ValueError(f"{path} must be [N, 17] (15 pose values and two bounds), got {found}.")
    if not len(values):
        raise ValueError(f"{path} holds no poses: nothing was registered.")
    if values.dtype.kind not in "fiu":
        raise ValueError(f"{path} must hold numbers, got {values.dtype}.")
    poses = torch.from_numpy(values[:, :15].astype(np.float64)).reshape(-1, 3, 5)
    bad = (~torch.isfinite(poses).flatten(1).all(dim=1)).nonzero().flatten().tolist()
    if bad:
        raise ValueError(f"{path} holds NaN or infinity in the poses of images {bad[:10]}.")
    return poses


def _viewmat(pose: Float[Tensor, "3 5"]) -> Float[Tensor, "4 4"]:
    """World-to-camera in OpenCV axes from LLFF's (down, right, backward)."""
    camtoworld = torch.eye(4, dtype=torch.float64)
    camtoworld[:3] = torch.stack([pose[:, 1], pose[:, 0], -pose[:, 2], pose[:, 3]], dim=1)
    return torch.linalg.inv(camtoworld)
