"""What a loader reads: posed photos as their source describes them, before any resampling."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from .capture import SparsePoints
from .images import image_size
from .lenses import Lens
from .similarity import Similarity

logger = logging.getLogger(__name__)

_REDUCED_FOLDERS = (2, 4, 8)
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True)
class Photo:
    """One posed photo."""

    name: str
    """Name relative to the image folder; photos are sorted and split by it."""
    path: Path
    """The image file."""
    viewmat: Float[Tensor, "4 4"]
    """World-to-camera in the file's frame, OpenCV axes, float64."""
    lens: Lens
    """Intrinsics at the size of the image file."""
    mask_path: Path | None = None
    """Image whose bright pixels may be compared with a render."""
    depth_path: Path | None = None
    """z-depth as a 16-bit image or a .npy array."""
    depth_scale: float = 1.0
    """Length in the file's frame of one stored depth unit."""


@dataclass(frozen=True)
class ListedSplit:
    """A division that the source itself gives."""

    train: frozenset[str]
    """Photo names."""
    test: frozenset[str]
    """Photo names."""
    description: str
    """Where the lists come from, in words."""


@dataclass(frozen=True)
class PhotoSet:
    """Everything that one loader found in a folder."""

    kind: str
    """The format's name, for messages."""
    photos: tuple[Photo, ...]
    """Photos with a pose; in any order."""
    points: SparsePoints | None = None
    """Sparse points in the same frame as the poses."""
    split: ListedSplit | None = None
    """The source's own division, where it has one."""
    T_source_file: Similarity = field(default_factory=Similarity)
    """From the frame of the poses to the frame before the tool that wrote the file changed it."""
    reduced_by: int = 1
    """Factor by which another tool already reduced the image files against the full photos."""


def existing(photos: Iterable[Photo], *, listed_in: Path) -> tuple[Photo, ...]:
    """The photos whose image file exists; the others are skipped with one warning.

    Raises:
        ValueError: Nothing is listed.
        FileNotFoundError: Every listed image is missing.
    """
    listed = list(photos)
    if not listed:
        raise ValueError(
            f"{listed_in} registers no images; rerun the reconstruction with more overlap between "
            f"photos, or point to the model that holds them."
        )
    found = tuple(photo for photo in listed if photo.path.is_file())
    missing = [str(photo.path) for photo in listed if not photo.path.is_file()]
    if not found:
        raise FileNotFoundError(
            f"{listed_in} lists {len(listed)} images and none exists, for example {missing[0]}; "
            f"put the images there."
        )
    if missing:
        logger.warning(
            "%s lists %d images, %d of them are missing and skipped: %s%s",
            listed_in,
            len(listed),
            len(missing),
            ", ".join(missing[:3]),
            ", ..." if len(missing) > 3 else "",
        )
    return found


def with_sibling_masks(photos: Iterable[Photo], folder: Path) -> tuple[Photo, ...]:
    """Photos without a mask get the one in `folder/masks` that has their name or stem.

    Accepted for `a/b.jpg`: `a/b.jpg.png` (COLMAP), `a/b.jpg`, and `a/b` with any image suffix.
    """
    masks = folder / "masks"
    if not masks.is_dir():
        return tuple(photos)
    return tuple(
        photo if photo.mask_path else replace(photo, mask_path=_mask_of(photo.name, masks))
        for photo in photos
    )


def _mask_of(name: str, masks: Path) -> Path | None:
    candidates = [masks / f"{name}.png", masks / name]
    candidates += [(masks / name).with_suffix(suffix) for suffix in IMAGE_SUFFIXES]
    return next((path for path in candidates if path.is_file()), None)


def image_folder(folder: Path, downscale: int | float | None) -> tuple[Path, int]:
    """The folder of the photos and the factor by which they were already reduced.

    `images_2`, `images_4` or `images_8` where `downscale` is exactly that or `images` is missing,
    then the smallest reduction; `folder` itself where there is no image folder.
    """
    available = [factor for factor in _REDUCED_FOLDERS if (folder / f"images_{factor}").is_dir()]
    full = folder / "images"
    if downscale in available or (available and not full.is_dir()):
        factor = int(downscale) if downscale in available else available[0]
        return folder / f"images_{factor}", factor
    return full if full.is_dir() else folder, 1


def reduced_lens(lens: Lens, factor: int, path: Path) -> Lens:
    """The full-size `lens` for the reduced file `path`, whose size may be rounded either way."""
    width, height = image_size(path)
    if abs(width - lens.width / factor) >= 1 or abs(height - lens.height / factor) >= 1:
        raise ValueError(
            f"{path} is {width} x {height} pixels, expected 1/{factor} of its camera's "
            f"{lens.width} x {lens.height}; make the reduced images again."
        )
    return lens.resized(width, height)
