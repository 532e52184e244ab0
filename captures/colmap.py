"""COLMAP scenes: posed photos from a sparse model, and a sparse model from cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from .cameras import Cameras
from .capture import SparsePoints
from .colmap_format import (
    ColmapCamera,
    ColmapImage,
    ColmapModel,
    find_model,
    read_model,
    write_model,
)
from .lenses import Lens
from .photos import Photo, PhotoSet, existing, image_folder, reduced_lens, with_sibling_masks
from .rotations import quats_to_rotmats, rotmats_to_quats


def load_colmap(folder: Path, *, downscale: int | float | None = None) -> PhotoSet:
    """The photos and points of the COLMAP scene in `folder`.

    The model is looked for in `sparse/0`, `sparse` and `folder`; the photos in `images`, or in
    `images_2`, `images_4`, `images_8` where `downscale` is that factor or `images` is missing.

    Raises:
        ValueError: A damaged file, an unknown camera model, no registered image.
        FileNotFoundError: No model, or none of the images exists.
    """
    model_folder = find_model(folder)
    if model_folder is None:
        raise FileNotFoundError(
            f"{folder} holds no COLMAP model (cameras and images, .bin or .txt)."
        )
    model = read_model(model_folder)
    lenses = {
        camera_id: _lens(camera, f"{model_folder}, camera {camera_id}")
        for camera_id, camera in model.cameras.items()
    }
    images, factor = image_folder(folder, downscale)
    photos = existing(
        (_photo(image, lenses[image.camera_id], images, factor) for image in model.images),
        listed_in=model_folder,
    )
    if factor != 1:
        photos = tuple(
            replace(photo, lens=reduced_lens(photo.lens, factor, photo.path)) for photo in photos
        )
    return PhotoSet(
        kind="COLMAP",
        photos=with_sibling_masks(photos, folder),
        points=_sparse_points(model),
        reduced_by=factor,
    )


def write_colmap(
    folder: Path,
    cameras: Cameras,
    image_names: Sequence[str],
    points: SparsePoints | None = None,
    *,
    binary: bool = True,
    overwrite: bool = False,
) -> Path:
    """Write a COLMAP model of `cameras` and `points` into `folder/sparse/0`.

    Args:
        folder: The scene; its images belong into `folder/images`.
        cameras: PINHOLE without distortion, else OPENCV, FULL_OPENCV or OPENCV_FISHEYE. Images
            with equal intrinsics share one COLMAP camera.
        image_names: One per camera, relative to `folder/images`.
        points: Written without tracks.
        binary: `.bin` files, else `.txt`; both keep every bit of the poses.
        overwrite: Replace a model that is already there.

    Returns:
        The model's folder.
    """
    if len(image_names) != len(cameras):
        raise ValueError(
            f"`image_names` must hold one name per camera ({len(cameras)}), got {len(image_names)}."
        )
    target = folder / "sparse" / "0"
    if find_model(target) is not None and not overwrite:
        raise FileExistsError(f"{target} already holds a model; pass overwrite=True to replace it.")
    quats = rotmats_to_quats(cameras.viewmats[:, :3, :3].double()).tolist()
    translations = cameras.viewmats[:, :3, 3].double().tolist()
    ids: dict[ColmapCamera, int] = {}
    images = []
    for index, name in enumerate(image_names):
        camera_id = ids.setdefault(_colmap_camera(cameras, index), len(ids) + 1)
        images.append(ColmapImage(name, camera_id, tuple(quats[index]), tuple(translations[index])))
    if points is None:
        points = SparsePoints(torch.zeros(0, 3), torch.zeros(0, 3))
    model = ColmapModel(
        cameras={camera_id: camera for camera, camera_id in ids.items()},
        images=tuple(images),
        positions=points.positions.double().cpu().numpy(),
        colors=(points.colors.clamp(0, 1) * 255).round().byte().cpu().numpy(),
    )
    target.mkdir(parents=True, exist_ok=True)
    write_model(target, model, binary=binary)
    return target


def _lens(camera: ColmapCamera, where: str) -> Lens:
    """The lens of a COLMAP camera; parameter orders are those of COLMAP's `models.h`."""
    size = camera.width, camera.height
    match camera.model, camera.params:
        case "SIMPLE_PINHOLE", (f, cx, cy):
            return Lens(*size, f, f, cx, cy)
        case "SIMPLE_RADIAL" | "RADIAL", (f, cx, cy, *k):
            return Lens(*size, f, f, cx, cy, "opencv", tuple(k))
        case "PINHOLE" | "OPENCV" | "FULL_OPENCV", (fx, fy, cx, cy, *coefficients):
            return Lens(*size, fx, fy, cx, cy, "opencv", tuple(coefficients))
        case "SIMPLE_FISHEYE" | "SIMPLE_RADIAL_FISHEYE" | "RADIAL_FISHEYE", (f, cx, cy, *k):
            return Lens(*size, f, f, cx, cy, "fisheye", tuple(k))
        case "FISHEYE" | "OPENCV_FISHEYE", (fx, fy, cx, cy, *k):
            return Lens(*size, fx, fy, cx, cy, "fisheye", tuple(k))
        case "THIN_PRISM_FISHEYE", (fx, fy, cx, cy, k1, k2, p1, p2, k3, k4, sx1, sy1):
            return Lens(*size, fx, fy, cx, cy, "fisheye", (k1, k2, k3, k4, p1, p2, sx1, sy1))
        case "FOV", (fx, fy, cx, cy, omega):
            return Lens(*size, fx, fy, cx, cy, "fov", (omega,))
    raise ValueError(
        f"{where}: the camera model {camera.model} cannot be undistorted here; run "
        f"`colmap image_undistorter` and load its output."
    )


def _colmap_camera(cameras: Cameras, index: int) -> ColmapCamera:
    width, height = cameras.size(index)
    K = cameras.Ks[index]
    params = (K[0, 0].item(), K[1, 1].item(), K[0, 2].item(), K[1, 2].item())
    model = "PINHOLE"
    if cameras.distortion is not None:
        coefficients = tuple(cameras.distortion[index].tolist())
        if cameras.model == "fisheye":
            model, length = "OPENCV_FISHEYE", 4
        else:
            model, length = ("OPENCV", 4) if len(coefficients) <= 4 else ("FULL_OPENCV", 8)
        params += coefficients + (0.0,) * (length - len(coefficients))
    elif cameras.model != "pinhole":
        raise ValueError(
            f"`cameras` of model {cameras.model!r} without distortion fit no COLMAP model."
        )
    return ColmapCamera(model, width, height, params)


def _photo(image: ColmapImage, lens: Lens, images: Path, factor: int) -> Photo:
    viewmat = torch.eye(4, dtype=torch.float64)
    viewmat[:3, :3] = quats_to_rotmats(torch.tensor(image.quat, dtype=torch.float64))
    viewmat[:3, 3] = torch.tensor(image.translation, dtype=torch.float64)
    path = images / image.name
    if factor != 1 and not path.is_file():
        # Reduced copies are often stored in another format under the same stem.
        path = next((p for p in sorted(path.parent.glob(f"{path.stem}.*"))), path)
    return Photo(image.name, path, viewmat, lens)


def _sparse_points(model: ColmapModel) -> SparsePoints | None:
    finite = np.isfinite(model.positions).all(axis=1)
    if not finite.any():
        return None
    return SparsePoints(
        torch.from_numpy(model.positions[finite]).float(),
        torch.from_numpy(model.colors[finite]).float() / 255,
    )
