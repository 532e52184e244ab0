"""`load_capture`: one call for every kind of posed photo folder."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from .cameras import Cameras
from .capture import Capture, SparsePoints
from .colmap import load_colmap
from .colmap_format import find_model
from .images import check_size
from .lenses import Lens
from .llff import load_llff
from .normalize import normalizing_similarity
from .photos import Photo, PhotoSet
from .similarity import Similarity
from .splits import SplitRule, choose_split
from .transforms import load_blender, load_transforms
from .views import ViewLoader

_LONGER_SIDE = 1600  # the rule of the splat literature for photos of unspecified resolution


def load_capture(
    path: str | os.PathLike[str],
    *,
    downscale: int | float | None = None,
    test_every: int = 8,
    split: SplitRule | Path | None = None,
    undistort: bool = True,
    normalize: bool = True,
    cache_bytes: int = 2 << 30,
) -> Capture:
    """The capture in a folder of COLMAP, nerfstudio, instant-ngp, Blender or LLFF form.

    Images are checked now and decoded when they are first looked at.

    Args:
        path: The folder, or a `transforms.json` file.
        downscale: Divisor of the full image size, >= 1; None brings the longer side of the
            largest image to at most 1600 pixels.
        test_every: Hold out every n-th image by sorted name; 0 trains on all.
        split: See `choose_split`; None takes the source's own lists where it has them.
        undistort: Deliver pinhole images of the same size and intrinsics; pixels without source
            are masked out. Otherwise `cameras.distortion` says what the images show.
        normalize: Move the capture to `normalizing_similarity`'s frame; `T_source_capture` leads
            back to the source's.
        cache_bytes: Memory for decoded images.

    Raises:
        FileNotFoundError: No such folder, not a capture (the message lists what was looked for),
            or no image exists.
        ValueError: A damaged file, an unknown camera model, an unusable pose, an image of another
            size than its camera's, or a split that leaves nothing to train on.
    """
    found = _read_folder(Path(path), downscale)
    photos = tuple(sorted(found.photos, key=lambda photo: photo.name))
    for photo in photos:
        check_size(photo.path, photo.lens.width, photo.lens.height)
    factor = _remaining_factor(photos, found.reduced_by, downscale)
    lenses = [_resized(photo.lens, factor) for photo in photos]
    cameras = _cameras(torch.stack([photo.viewmat for photo in photos]), lenses, undistort)
    T_capture_file = normalizing_similarity(cameras) if normalize else Similarity()
    names = tuple(photo.name for photo in photos)
    chosen = choose_split(names, rule=split, test_every=test_every, listed=found.split)
    points = found.points
    if points is not None:
        positions = T_capture_file.apply(points.positions.double()).float()
        points = SparsePoints(positions, points.colors)
    loader = ViewLoader(
        photos,
        lenses,
        undistort=undistort,
        depth_scale=T_capture_file.scale,
        cache_bytes=cache_bytes,
    )
    return Capture(
        source=Path(path),
        cameras=T_capture_file.apply_to_cameras(cameras),
        image_names=names,
        train=chosen.train,
        test=chosen.test,
        split=chosen.description,
        load_view=loader,
        points=points,
        T_source_capture=found.T_source_file.compose(T_capture_file.inverse()),
        resolution=_resolution(photos, lenses, found.reduced_by, factor, undistort),
        cache_capacity=loader.capacity,
    )


def _read_folder(path: Path, downscale: int | float | None) -> PhotoSet:
    if path.is_file() and path.suffix == ".json":
        return load_transforms(path)
    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not exist; `path` must be the folder of a capture.")
    if (path / "transforms.json").is_file():
        return load_transforms(path / "transforms.json")
    if any((path / f"transforms_{part}.json").is_file() for part in ("train", "test", "val")):
        return load_blender(path)
    if find_model(path) is not None:
        return load_colmap(path, downscale=downscale)
    if (path / "poses_bounds.npy").is_file():
        return load_llff(path, downscale=downscale)
    raise FileNotFoundError(
        f"{path} is no capture: looked for transforms.json, transforms_train.json, cameras and "
        f"images (.bin or .txt) in sparse/0, sparse or the folder itself, and poses_bounds.npy; "
        f"`fieldwright capture {path} OUT` makes a capture from plain photos."
    )


def _remaining_factor(
    photos: Sequence[Photo], reduced_by: int, downscale: int | float | None
) -> float:
    """By how much the image files are still to be reduced."""
    if downscale is None:
        longest = max(max(photo.lens.width, photo.lens.height) for photo in photos)
        return max(1.0, longest / _LONGER_SIDE)
    if not 1 <= downscale < math.inf:
        raise ValueError(f"`downscale` must be at least 1, got {downscale}.")
    if downscale < reduced_by:
        raise ValueError(
            f"`downscale` is {downscale:g}, but only images reduced by {reduced_by} exist."
        )
    return downscale / reduced_by


def _resolution(
    photos: Sequence[Photo],
    lenses: Sequence[Lens],
    reduced_by: int,
    factor: float,
    undistort: bool,
) -> str:
    """How the images come to their final pixels, in words."""
    sizes = sorted({(lens.width, lens.height) for lens in lenses}, reverse=True)
    words = ["{} x {}".format(*sizes[0]) + (" and other sizes" if len(sizes) > 1 else "")]
    if reduced_by != 1:
        words.append(f"files reduced by {reduced_by} with another tool")
    if factor == 1:
        words.append("as stored")
    else:
        exact = all(
            (lens.width * factor, lens.height * factor) == (photo.lens.width, photo.lens.height)
            for photo, lens in zip(photos, lenses, strict=True)
        )
        how = "area average" if exact and factor == int(factor) else "antialiased bicubic"
        if any(photo.path.suffix.lower() in (".jpg", ".jpeg") for photo in photos) and factor >= 4:
            how += " after JPEG decoder scaling"
        words.append(f"reduced by {factor:g} ({how})")
    if undistort and not all(lens.is_pinhole for lens in lenses):
        words.append("undistorted (bicubic)")
    return ", ".join(words)


def _resized(lens: Lens, factor: float) -> Lens:
    return lens.resized(max(1, round(lens.width / factor)), max(1, round(lens.height / factor)))


def _cameras(viewmats: Float[Tensor, "C 4 4"], lenses: Sequence[Lens], undistort: bool) -> Cameras:
    sizes = torch.tensor([(lens.width, lens.height) for lens in lenses])
    width, height = sizes.max(dim=0).values.tolist()
    cameras = Cameras(
        viewmats=viewmats,
        Ks=torch.stack([lens.K() for lens in lenses]),
        width=width,
        height=height,
        sizes=None if bool((sizes == sizes[0]).all()) else sizes,
    )
    if undistort or all(lens.is_pinhole for lens in lenses):
        return cameras
    return _with_distortion(cameras, lenses)


def _with_distortion(cameras: Cameras, lenses: Sequence[Lens]) -> Cameras:
    """`cameras` with the lenses' coefficients in OpenCV's order, where one model fits them all."""
    models = {lens.model for lens in lenses}
    coefficients = torch.tensor([lens.coefficients for lens in lenses], dtype=torch.float64)
    if models == {"opencv"}:
        used = 8 if bool(coefficients[:, 4:].any()) else 4
        return replace(cameras, distortion=coefficients[:, :used])
    if models == {"fisheye"} and not bool(coefficients[:, 4:].any()):
        return replace(cameras, model="fisheye", distortion=coefficients[:, :4])
    raise ValueError(
        f"`undistort` must be True for lenses of model {', '.join(sorted(models))} in one capture, "
        f"which OpenCV coefficients cannot describe together."
    )
