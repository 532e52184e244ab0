"""Decoding image files at a chosen size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor

_EXIF_ORIENTATION = 0x0112
_TRANSPOSED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_METHODS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Pixels:
    """A decoded image in 8 bits."""

    rgb: UInt8[Tensor, "H W 3"]
    """sRGB, premultiplied by `alpha` where there is one."""
    alpha: UInt8[Tensor, "H W"] | None
    """None for files without an alpha channel."""


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels as stored, before any EXIF orientation; reads the header only."""
    with _open(path) as image:
        return image.size


def check_size(path: Path, width: int, height: int) -> None:
    """Raise `ValueError` unless the file can be read at `width` x `height` (see `decode_image`)."""
    with _open(path) as image:
        _orientation(image, path, width, height)


def decode_image(path: Path, *, size: tuple[int, int], target: tuple[int, int]) -> Pixels:
    """The image resampled with antialiasing.

    Integer factors take the exact area average (for JPEG files the decoder's own DCT scaling does
    all but the last factor of two); others PIL's bicubic filter, whose support grows with the
    factor. Colors are averaged after multiplication with alpha.

    Args:
        path: The image file.
        size: (width, height) that the intrinsics belong to. Stored pixels win where they have this
            size; where only the EXIF-oriented image has it, it is turned.
        target: (width, height) to deliver.

    Raises:
        ValueError: The file has another size, or cannot be decoded.
    """
    with _open(path) as image:
        orientation = _orientation(image, path, *size)
        turned = orientation in _TRANSPOSED
        stored_target = (target[1], target[0]) if turned else target
        if image.format == "JPEG":
            # Twice the target leaves a real area average to do, so that the result stays within a
            # level or so of it.
            image.draft(None, (2 * stored_target[0], 2 * stored_target[1]))
        try:
            has_alpha = "A" in image.getbands() or "transparency" in image.info
            reduced = _resize(_eight_bit(image, "RGBA" if has_alpha else "RGB"), stored_target)
        except (OSError, SyntaxError) as error:
            raise ValueError(f"{path} cannot be decoded ({error}); replace the file.") from error
    if orientation is not None:
        reduced = reduced.transpose(_METHODS[orientation])
    pixels = torch.from_numpy(np.array(reduced))
    return Pixels(pixels[..., :3].contiguous(), pixels[..., 3].contiguous() if has_alpha else None)


def decode_mask(path: Path, *, target: tuple[int, int]) -> Bool[Tensor, "H W"]:
    """True where every stored pixel under a pixel of the target is at least half bright.

    A mask may be smaller or larger than its photo; it is then read as covering the same area.
    """
    with _open(path) as image:
        bright = np.array(_eight_bit(image, "L")) >= 128
    dark = torch.from_numpy(~bright)[None, None].float()
    # The largest value under a pixel of the target: one dark source pixel excludes it.
    return F.adaptive_max_pool2d(dark, (target[1], target[0]))[0, 0] == 0


def decode_depth(path: Path, *, target: tuple[int, int]) -> Float[Tensor, "H W"]:
    """Stored depth units at the nearest source pixel, float32; 0 where unknown.

    Reads 16-bit and 32-bit images and `.npy` arrays [H, W]; values that are not finite become 0.
    """
    if path.suffix == ".npy":
        values = np.load(path, allow_pickle=False)
    else:
        with _open(path) as image:
            values = np.array(image)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim != 2:
        raise ValueError(f"{path} must hold one depth per pixel, got shape {list(values.shape)}.")
    depth = torch.from_numpy(np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0))
    return F.interpolate(depth[None, None], (target[1], target[0]), mode="nearest-exact")[0, 0]


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is no image that can be read; replace the file.") from error


def _orientation(image: Image.Image, path: Path, width: int, height: int) -> int | None:
    """The EXIF orientation to apply so that the image has the given size, None for as stored."""
    if image.size == (width, height):
        return None
    orientation = image.getexif().get(_EXIF_ORIENTATION)
    if orientation in _TRANSPOSED and image.size == (height, width):
        return orientation
    raise ValueError(
        f"{path} is {image.size[0]} x {image.size[1]} pixels, but its camera says "
        f"{width} x {height}; resize the image, or scale the intrinsics to match it."
    )


def _eight_bit(image: Image.Image, mode: str) -> Image.Image:
    """PIL clips 16-bit gray images when it converts them; their high byte is kept instead."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.array(image).astype(np.float64)
        image = Image.fromarray(
            (values / (257 if values.max(initial=0) > 255 else 1)).astype(np.uint8)
        )
    return image.convert(mode)


def _resize(image: Image.Image, target: tuple[int, int]) -> Image.Image:
    """`image` at the target size; RGBA comes back premultiplied."""
    if image.mode == "RGBA":
        image = image.convert("RGBa")
    if image.size == target:
        return image
    factor = image.width // target[0]
    if factor >= 1 and (factor * target[0], factor * target[1]) == image.size:
        return image.reduce(factor)
    return image.resize(target, Image.Resampling.BICUBIC)
