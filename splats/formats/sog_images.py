"""Byte tables as lossless WebP images, the way SOG stores them.

Texel i, row by row from the top left, belongs to row i of the table.
"""

from __future__ import annotations

import io
import math
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .contract import FormatError
from .sog_archive import SogFiles

MAX_SIDE = 16383
"""Longest side of a WebP image."""
MAX_ROWS = (MAX_SIDE // 4 * 4) ** 2
"""Most rows that fit in one image with sides that are multiples of four."""

_DAMAGED_IMAGE = (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError)


def image_size(num_rows: int) -> tuple[int, int]:
    """(width, height) of the nearly square image for so many rows, multiples of four."""
    width = min(math.ceil(math.sqrt(num_rows) / 4) * 4, MAX_SIDE // 4 * 4)
    return width, math.ceil(num_rows / width / 4) * 4


def encode_image(
    rows: NDArray[np.uint8], width: int, height: int, *, quality: int, method: int
) -> bytes:
    """Lossless WebP of rows [n, 3 or 4]; what is left of the image is zero.

    Args:
        rows: Red, green, blue and, if there is a fourth column, alpha (else 255).
        width: Of the image.
        height: Of the image.
        quality: Effort 0 to 100 of the search for matches.
        method: Effort 0 to 6 of the choice of transforms.
    """
    texels = np.zeros((width * height, 4), np.uint8)
    texels[:, 3] = 255
    texels[: len(rows), : rows.shape[1]] = rows
    image = Image.fromarray(texels.reshape(height, width, 4), "RGBA")
    data = io.BytesIO()
    # `exact` keeps the colors of texels whose alpha is zero.
    image.save(data, "WEBP", lossless=True, exact=True, quality=quality, method=method)
    return data.getvalue()


def decode_image(files: SogFiles, name: str, *, max_texels: int) -> NDArray[np.uint8]:
    """Texels [height, width, 4] of an image file.

    Raises:
        FormatError: Missing or damaged, or larger than `max_texels`.
    """
    data = files.read(name)
    try:
        width, height = _canvas(data)
        if width * height > max_texels:
            raise files.fail(
                name, f"expected at most {max_texels} texels, got {width} x {height}", field="size"
            )
        return np.asarray(Image.open(io.BytesIO(data), formats=["WEBP"]).convert("RGBA"))
    except FormatError:
        raise
    except _DAMAGED_IMAGE as error:
        raise _damaged(files, name, error) from None


def _canvas(data: bytes) -> tuple[int, int]:
    """(width, height) that a WebP file announces, before a decoder makes room for them.

    The first chunk says it: VP8X (24 bits each, less one), VP8L (14 bits each, less one, behind a
    signature byte) or VP8 (14 bits each, behind the frame tag and start code).
    """
    kind, body = data[12:16], data[20:30]
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(body) < 10:
        raise ValueError("no WebP header")
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        bits = int.from_bytes(body[6:10], "little")
        return bits & 0x3FFF, bits >> 16 & 0x3FFF
    raise ValueError(f"unknown WebP chunk {kind!r}")


def _damaged(files: SogFiles, name: str, error: Exception) -> FormatError:
    return files.fail(name, f"damaged WebP image ({error})", field="image")
