"""Captures described by JSON: nerfstudio, instant-ngp and Blender (NeRF-synthetic)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .images import image_size
from .lenses import Lens, LensModel
from .photos import IMAGE_SUFFIXES, ListedSplit, Photo, PhotoSet, existing, with_sibling_masks
from .point_ply import read_point_ply
from .similarity import Similarity

_LENS_MODELS: dict[str, LensModel] = {
    "SIMPLE_PINHOLE": "opencv",
    "PINHOLE": "opencv",
    "SIMPLE_RADIAL": "opencv",
    "RADIAL": "opencv",
    "OPENCV": "opencv",
    "FULL_OPENCV": "opencv",
    "OPENCV_FISHEYE": "fisheye",
}
_COEFFICIENTS: dict[str, tuple[str, ...]] = {
    "opencv": ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "fisheye": ("k1", "k2", "k3", "k4", "p1", "p2"),
}
_MILLIMETER = 1e-3  # nerfstudio's unit of stored depth
_MAX_SKEW = 1e-2  # largest error of R^T R that rounding in a hand-written file explains


def load_transforms(path: Path) -> PhotoSet:
    """The photos of one `transforms.json` as nerfstudio and instant-ngp write it.

    Every camera field may stand at the top or in a frame, which wins. Listed images that do not
    exist are skipped with a warning.

    Raises:
        ValueError: The file is no such JSON, or a camera model, intrinsic or pose is unusable.
        FileNotFoundError: None of the images exists.
    """
    meta = _read(path)
    T_file_source = _applied(meta, path)
    photos = existing(_photos(meta, path, T_file_source.scale), listed_in=path)
    ply = meta.get("ply_file_path")
    return PhotoSet(
        kind="nerfstudio or instant-ngp",
        photos=with_sibling_masks(photos, path.parent),
        points=read_point_ply(path.parent / ply) if ply else None,
        split=_filename_lists(meta, path),
        T_source_file=T_file_source.inverse(),
    )


def load_blender(folder: Path) -> PhotoSet:
    """The photos of `transforms_train.json` and its `val` and `test` companions.

    The test frames are held out, or the val frames where there is no test file; val frames are
    left out otherwise, as papers do.
    """
    parts: dict[str, tuple[Photo, ...]] = {}
    for part in ("train", "test", "val"):
        path = folder / f"transforms_{part}.json"
        if path.is_file() and not (part == "val" and "test" in parts):
            parts[part] = existing(_photos(_read(path), path, 1.0), listed_in=path)
    held_out = next((part for part in ("test", "val") if part in parts), None)
    split = None
    if held_out and "train" in parts:
        split = ListedSplit(
            train=frozenset(photo.name for photo in parts["train"]),
            test=frozenset(photo.name for photo in parts[held_out]),
            description=f"transforms_train.json is trained on, transforms_{held_out}.json held out",
        )
    photos = [photo for part in parts.values() for photo in part]
    return PhotoSet("Blender", with_sibling_masks(photos, folder), split=split)


def _read(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(meta, dict) or not isinstance(meta.get("frames"), list):
        raise ValueError(f"{path} must be a JSON object with a list `frames`.")
    return meta


def _photos(meta: Mapping[str, Any], path: Path, file_units: float) -> list[Photo]:
    """All frames of one file; `file_units` is the length of one source unit in the file."""
    photos = []
    for index, frame in enumerate(meta["frames"]):
        where = f"{path}, frame {index}"
        if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str):
            raise ValueError(f"{where}: must be an object with a `file_path`.")
        merged = {**meta, **frame}
        image = _image_path(path.parent / frame["file_path"])
        depth_unit = _number(merged, "depth_unit_scale_factor", where, _MILLIMETER)
        photos.append(
            Photo(
                name=_name(frame["file_path"]),
                path=image,
                viewmat=_viewmat(frame.get("transform_matrix"), where),
                lens=_lens(merged, image, where),
                mask_path=_companion(merged, "mask_path", path),
                depth_path=_companion(merged, "depth_file_path", path),
                depth_scale=depth_unit * file_units,
            )
        )
    return photos


def _name(file_path: str) -> str:
    return PurePosixPath(file_path).as_posix().removeprefix("images/")


def _image_path(path: Path) -> Path:
    """Blender leaves the suffix out."""
    if path.is_file():
        return path
    candidates = (path.with_name(path.name + suffix) for suffix in IMAGE_SUFFIXES)
    return next((candidate for candidate in candidates if candidate.is_file()), path)


def _companion(merged: Mapping[str, Any], key: str, path: Path) -> Path | None:
    value = merged.get(key)
    if not value:
        return None
    companion = path.parent / str(value)
    if not companion.is_file():
        raise FileNotFoundError(f"{path}: the `{key}` {companion} does not exist.")
    return companion


def _number(merged: Mapping[str, Any], key: str, where: str, default: float | None = None) -> float:
    value = merged.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{where}: `{key}` must be a finite number, got {value!r}.")
    return float(value)


def _lens(merged: Mapping[str, Any], image: Path, where: str) -> Lens:
    name = merged.get("camera_model", "OPENCV")
    if name not in _LENS_MODELS:
        raise ValueError(
            f"{where}: unknown `camera_model` {name!r}; known: {', '.join(_LENS_MODELS)}."
        )
    model = "fisheye" if merged.get("is_fisheye") else _LENS_MODELS[name]
    if "w" in merged and "h" in merged:
        size = _number(merged, "w", where), _number(merged, "h", where)
    else:
        # A frame whose image is missing is skipped later; any size serves until then.
        size = image_size(image) if image.is_file() else (1, 1)
    width, height = round(size[0]), round(size[1])
    if width < 1 or height < 1:
        raise ValueError(f"{where}: image size {width} x {height} is impossible.")
    fx = _focal(merged, "x", width, where)
    has_vertical = "fl_y" in merged or ("fl_x" not in merged and "camera_angle_y" in merged)
    return Lens(
        width=width,
        height=height,
        fx=fx,
        fy=_focal(merged, "y", height, where) if has_vertical else fx,
        cx=_number(merged, "cx", where, width / 2),
        cy=_number(merged, "cy", where, height / 2),
        model=model,
        coefficients=tuple(_number(merged, key, where, 0.0) for key in _COEFFICIENTS[model]),
    )


def _focal(merged: Mapping[str, Any], axis: str, side: int, where: str) -> float:
    """Focal length in pixels, from `fl_*` or the angle of view in radians."""
    if f"fl_{axis}" in merged:
        return _number(merged, f"fl_{axis}", where)
    angle = _number(merged, f"camera_angle_{axis}", where)
    if not 0 < angle < math.pi:
        raise ValueError(f"{where}: `camera_angle_{axis}` must lie in (0, pi), got {angle}.")
    return 0.5 * side / math.tan(0.5 * angle)


def _viewmat(rows: object, where: str) -> Float[Tensor, "4 4"]:
    """World-to-camera in OpenCV axes from camera-to-world in OpenGL axes."""
    camtoworld = _matrix(rows, f"{where}: `transform_matrix`")
    camtoworld[:3, :3] = _rotation(camtoworld[:3, :3], f"{where}: `transform_matrix`")[1]
    camtoworld[:3, 1:3] *= -1  # OpenGL looks along -z with y up
    return torch.linalg.inv(camtoworld)


def _matrix(rows: object, what: str) -> Float[Tensor, "4 4"]:
    try:
        given = torch.tensor(rows, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{what} must be 4 x 4 numbers, got {str(rows)[:80]}.") from error
    if tuple(given.shape) not in ((3, 4), (4, 4)):
        raise ValueError(f"{what} must be 4 x 4 or 3 x 4, got {list(given.shape)}.")
    if not torch.isfinite(given).all():
        raise ValueError(f"{what} holds NaN or infinity; remove the frame or redo its pose.")
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3] = given[:3]
    return matrix


def _rotation(block: Float[Tensor, "3 3"], what: str) -> tuple[float, Float[Tensor, "3 3"]]:
    """(scale, rotation) of a block that is a rotation times a positive number."""
    determinant = float(torch.linalg.det(block))
    if determinant <= 0:
        raise ValueError(f"{what} must hold a rotation, but its determinant is {determinant:g}.")
    scale = determinant ** (1 / 3)
    u, _, vt = torch.linalg.svd(block / scale)
    skew = float(((block / scale).T @ (block / scale) - torch.eye(3)).abs().max())
    if skew > _MAX_SKEW:
        raise ValueError(f"{what} must hold a rotation, but its axes are off by {skew:.2g}.")
    return scale, u @ vt


def _applied(meta: Mapping[str, Any], path: Path) -> Similarity:
    """From the original reconstruction to the file's frame: `applied_transform`, then scale."""
    scale = _number(meta, "applied_scale", str(path), 1.0)
    if scale <= 0:
        raise ValueError(f"{path}: `applied_scale` must be positive, got {scale}.")
    rows = meta.get("applied_transform")
    if rows is None:
        return Similarity(scale=scale)
    matrix = _matrix(rows, f"{path}: `applied_transform`")
    own_scale, rotation = _rotation(matrix[:3, :3], f"{path}: `applied_transform`")
    return Similarity(scale * own_scale, rotation, scale * matrix[:3, 3])


def _filename_lists(meta: Mapping[str, Any], path: Path) -> ListedSplit | None:
    """nerfstudio's `train_filenames` and `test_filenames`, the latter else `val_filenames`."""
    train, test, val = (
        frozenset(_name(name) for name in meta.get(f"{part}_filenames") or ())
        for part in ("train", "test", "val")
    )
    if not train or not (test or val):
        return None
    used = "test" if test else "val"
    return ListedSplit(train, test or val, f"train_filenames and {used}_filenames of {path.name}")
