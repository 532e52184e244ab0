"""The byte tables of a SOG scene: what its images hold, decoded to Gaussians."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..gaussians import Gaussians
from .sog_archive import META, SogFiles
from .sog_images import decode_image
from .sog_meta import COEFFICIENTS, SogMeta, read_meta

PALETTE_COLUMNS = 64
"""Palette entries side by side in one row of the centroid image."""


@dataclass(frozen=True)
class SogTables:
    """The bytes of N Gaussians and their palette."""

    meta: SogMeta
    """Tables that turn bytes into numbers."""
    means: NDArray[np.uint16]
    """[N, 3], positions between `mins` and `maxs`."""
    quats: NDArray[np.uint8]
    """[N, 4], three components * sqrt(2) over [-1, 1], then 252 + the index (w, x, y, z) of the
    dropped largest one."""
    scales: NDArray[np.uint8]
    """[N, 3], indices of the scale table."""
    sh0: NDArray[np.uint8]
    """[N, 4], indices of the color table and opacity."""
    labels: NDArray[np.uint16] | None
    """[N], palette entry of each Gaussian; None for degree 0."""
    palette: NDArray[np.uint8] | None
    """[P, K - 1, 3], indices of the palette table."""

    @property
    def sh_degree(self) -> int:
        """Degree of the spherical harmonics, 0 to 3."""
        return 0 if self.palette is None else COEFFICIENTS.index(self.palette.shape[1])

    def decode(self, rows: slice) -> Gaussians:
        """Some of the Gaussians, float32."""
        meta = self.meta
        span = np.where(meta.maxs > meta.mins, meta.maxs - meta.mins, 1.0)
        logs = meta.mins + span * (self.means[rows] / 65535)
        means = np.sign(logs) * np.expm1(np.abs(logs))
        axes = np.arange(3)
        sh0 = self.sh0[rows]
        shN = np.zeros((len(sh0), 0, 3), np.float32)
        if self.labels is not None and self.palette is not None and meta.palette_table is not None:
            shN = meta.palette_table[self.palette][self.labels[rows]]
        return Gaussians(
            means=torch.from_numpy(means.astype(np.float32)),
            quats=torch.from_numpy(decode_quats(self.quats[rows])),
            log_scales=torch.from_numpy(meta.scale_table[axes, self.scales[rows]]),
            logit_opacities=torch.from_numpy(meta.logit_table[sh0[:, 3]]),
            sh0=torch.from_numpy(meta.color_table[axes, sh0[:, :3]][:, None]),
            shN=torch.from_numpy(shN),
        )


def decode_quats(packed: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Unit quaternions [n, 4] (w, x, y, z); tags other than 252 to 255 give the identity."""
    small = (packed[:, :3] / np.float32(255) * 2 - 1) * np.float32(math.sqrt(0.5))
    largest = np.sqrt(np.clip(1 - np.square(small).sum(1, keepdims=True), 0, None))
    tags = packed[:, 3:].astype(np.int64) - 252
    known = tags >= 0
    # Row i: where w, x, y, z stand in (small 0 to 2, largest) when component i was dropped.
    places = np.array([[3, 0, 1, 2], [0, 3, 1, 2], [0, 1, 3, 2], [0, 1, 2, 3]])
    values = np.concatenate([small, largest], axis=1)
    quats = np.take_along_axis(values, places[np.where(known, tags, 0)[:, 0]], axis=1)
    return np.where(known, quats, [1.0, 0.0, 0.0, 0.0]).astype(np.float32)


def read_tables(files: SogFiles) -> SogTables:
    """All images of a scene, checked against each other.

    Raises:
        FormatError: Missing or damaged images, too small for the count, or labels beyond the
            palette.
    """
    meta = read_meta(files)

    def rows(part: str, which: int = 0) -> NDArray[np.uint8]:
        name = meta.names[part][which]
        # A few rows of slack; more than that is not this scene's image.
        texels = decode_image(files, name, max_texels=4 * meta.count + (1 << 16)).reshape(-1, 4)
        if len(texels) < meta.count:
            raise files.fail(
                name, f"expected at least {meta.count} texels, got {len(texels)}", field="size"
            )
        return texels[: meta.count]

    low, high = rows("means"), rows("means", 1)
    labels = palette = None
    if "shN" in meta.names:
        palette = read_palette(files, meta)
        pairs = rows("shN", 1)[:, :2].astype(np.uint16)
        labels = (pairs[:, 0] | pairs[:, 1] << 8).astype(np.uint16)
        if labels.max() >= len(palette):
            raise files.fail(
                meta.names["shN"][1],
                f"expected labels below {len(palette)}, got {labels.max()}",
                field="label",
            )
    return SogTables(
        meta=meta,
        means=(low[:, :3] | high[:, :3].astype(np.uint16) << 8).astype(np.uint16),
        quats=rows("quats"),
        scales=rows("scales")[:, :3],
        sh0=rows("sh0"),
        labels=labels,
        palette=palette,
    )


def read_palette(files: SogFiles, meta: SogMeta) -> NDArray[np.uint8]:
    """The palette [P, K - 1, 3]; in version 1 its degree follows from the image's width."""
    name = meta.names["shN"][0]
    most = PALETTE_COLUMNS * COEFFICIENTS[3] * 1024
    texels = decode_image(files, name, max_texels=most)
    height, width, _ = texels.shape
    degrees = (meta.bands,) if meta.bands is not None else (1, 2, 3)
    for degree in degrees:
        if width == PALETTE_COLUMNS * COEFFICIENTS[degree]:
            entries = texels[..., :3].reshape(height * PALETTE_COLUMNS, COEFFICIENTS[degree], 3)
            count = len(entries) if meta.palette_count is None else meta.palette_count
            if count > len(entries):
                raise files.fail(
                    META, f"expected at most {len(entries)} entries, got {count}", field="shN.count"
                )
            return entries[:count]
    widths = " or ".join(str(PALETTE_COLUMNS * COEFFICIENTS[degree]) for degree in degrees)
    raise files.fail(name, f"expected a width of {widths}, got {width}", field="size")
