"""How SPZ and SOG store harmonics, as real bytes: what the vector codec is compared with."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from splats.formats.sog_palette import fit_palette, palette_size
from vq.nearest import nearest

from .vq_curves import Point, snr

SPZ_BITS = ((6, 5), (5, 4), (4, 3))
"""Bits of degree 1 and of higher degrees; (5, 4) is the format's default. More would hold the
toy cat without loss, which comes from a file of 8-bit harmonics itself."""


def spz_points(x: NDArray[np.float32]) -> Iterator[Point]:
    """Harmonics [n, 15, 3] on SPZ's grids, their bytes by zstandard at level 19."""
    import zstandard

    for first, rest in SPZ_BITS:
        step = np.full((15, 1), 2.0 ** (8 - rest), np.float32)
        step[:3] = 2.0 ** (8 - first)
        stored = np.clip(np.round(x * 128 / step) * step + 128, 0, 255)
        packed = zstandard.ZstdCompressor(level=19).compress(stored.astype(np.uint8).tobytes())
        name = f"SPZ {first}/{rest} bits + zstd 19"
        yield Point(name, 8 * len(packed) / len(x), snr(x, (stored - 128) / np.float32(128)))


def sog_points(x: NDArray[np.float32], sizes: tuple[int, ...]) -> Iterator[Point]:
    """Harmonics [n, 15, 3] through SOG's palette: codes of 8 bits, labels, both by zstandard 19."""
    import zstandard

    rows = torch.from_numpy(x.reshape(len(x), -1))
    for size in (*sizes, palette_size(len(x))):
        entries = fit_palette(rows, size).entries
        low, high = float(entries.min()), float(entries.max())
        codes = torch.round((entries - low) * (255 / (high - low)))
        labels = nearest(rows, entries)[0]
        found = (codes * ((high - low) / 255) + low)[labels].numpy()
        content = codes.to(torch.uint8).numpy().tobytes()
        content += labels.numpy().astype("<u2").view(np.uint8).reshape(-1, 2).T.tobytes()
        packed = zstandard.ZstdCompressor(level=19).compress(content)
        yield Point(f"SOG palette {size:,}", 8 * len(packed) / len(x), snr(rows.numpy(), found))
