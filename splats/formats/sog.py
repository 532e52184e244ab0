"""SOG scenes (PlayCanvas): attributes as lossless WebP images, harmonics as a palette.

A scene is a folder with `meta.json`, or the same files bundled in one `.sog` archive. Positions
are stored in the axes of the PLY they came from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..gaussians import Gaussians
from .contract import (
    HOUSE_FRAME,
    ROWS_PER_CHUNK,
    FileSummary,
    LossReport,
    Source,
    refuse_existing,
)
from .frames import in_frame
from .sog_archive import META, SogOutput, create_files, open_files
from .sog_encoding import SogPlan, encode_tables
from .sog_images import MAX_ROWS, encode_image, image_size
from .sog_meta import SogMeta
from .sog_palette import MAX_ENTRIES
from .sog_tables import PALETTE_COLUMNS, SogTables, read_tables

GENERATOR = "fieldwright"


@dataclass(frozen=True)
class SogOptions:
    """What a SOG writer lets one choose."""

    version: int = 2
    """2, or 1 for programs from before codebooks (coarser)."""
    palette_size: int | None = None
    """Most entries of the palette of harmonics, 1 to 65,536; None: the largest power of two that
    the number of Gaussians reaches, as the reference writer does."""
    iterations: int = 5
    """Of k-means for the palette; more lower the error of the harmonics slightly."""
    effort: int = 4
    """0 (fast) to 6 (small) of the WebP encoder; above 4 it takes long for little."""

    def __post_init__(self) -> None:
        ranges = {
            "version": (1, 2),
            "palette_size": (1, MAX_ENTRIES),
            "iterations": (1, 1000),
            "effort": (0, 6),
        }
        for name, (least, most) in ranges.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ValueError(f"`{name}` must be {least} to {most}, got {value}.")


@dataclass(frozen=True)
class SogSource:
    """An open SOG scene as a `Source`; its bytes are in memory, 19 or so per Gaussian."""

    tables: SogTables
    """Decoded images."""

    @property
    def num_primitives(self) -> int:
        """Number of Gaussians."""
        return self.tables.meta.count

    @property
    def sh_degree(self) -> int:
        """Degree of the spherical harmonics."""
        return self.tables.sh_degree

    @property
    def frame(self) -> str:
        """SOG keeps the axes of PLY files."""
        return HOUSE_FRAME

    @property
    def antialiased(self) -> bool:
        """Whether the model is "antialiased"."""
        return self.tables.meta.model == "antialiased"

    @property
    def model(self) -> str:
        """ "3dgs" or "2dgs"."""
        return "2dgs" if self.tables.meta.model == "2dgs" else "3dgs"

    def chunks(self, rows: int = ROWS_PER_CHUNK) -> Iterator[Gaussians]:
        """All Gaussians in file order."""
        for start in range(0, self.num_primitives, rows):
            yield self.tables.decode(slice(start, start + rows))


class SogFormat:
    """SOG as a `Format`."""

    suffixes = (".sog", META)
    magic = b""
    Options = SogOptions

    def open(self, path: Path) -> SogSource:
        """The Gaussians of an archive, or of the folder of a `meta.json`."""
        return SogSource(read_tables(open_files(path)))

    def write(
        self,
        source: Source,
        path: Path,
        *,
        options: SogOptions | None = None,
        overwrite: bool = False,
    ) -> LossReport:
        """Write `source` along a Hilbert curve, as an archive if `path` ends with `.sog`.

        Takes about 90 bytes of memory per Gaussian; the palette is learned from at most a million.
        """
        options = options or SogOptions()
        refuse_existing(path, overwrite=overwrite)
        check_writable(source)
        plan = SogPlan(options.version, options.palette_size, options.iterations)
        tables, order = encode_tables(in_frame(source), plan)
        with create_files(path) as output:
            num_bytes = write_tables(output, tables, effort=options.effort)
        return LossReport(
            path,
            path.stat().st_size if path.is_file() and path.name != META else num_bytes,
            max_errors=None,
            order=torch.from_numpy(order),
        )

    def summarize(self, path: Path) -> FileSummary:
        """What `meta.json` says, and the sizes of the images."""
        files = open_files(path)
        source = self.open(path)
        sections = {META: len(files.read(META))}
        for names in source.tables.meta.names.values():
            sections |= {name: len(files.read(name)) for name in names}
        rest = files.num_bytes - sum(sections.values())
        if rest > 0:
            sections["archive"] = rest
        return FileSummary(
            num_primitives=source.num_primitives,
            sh_degree=source.sh_degree,
            antialiased=source.antialiased,
            frame=source.frame,
            sections=sections,
            model=source.model,
            details={"version": str(source.tables.meta.version)},
        )


def check_writable(source: Source) -> None:
    """Refuse what no SOG scene can hold.

    Raises:
        ValueError: No Gaussians, more than fit in one image, or harmonics of degree 4.
    """
    if not 0 < source.num_primitives <= MAX_ROWS:
        raise ValueError(
            f"a SOG scene holds 1 to {MAX_ROWS} Gaussians, got {source.num_primitives}."
        )
    if source.sh_degree > 3:
        raise ValueError(
            f"SOG holds harmonics up to degree 3, got {source.sh_degree}; lower it (--sh-degree 3)."
        )


def write_tables(output: SogOutput, tables: SogTables, *, effort: int, prefix: str = "") -> int:
    """Write the images and `meta.json` of a scene; returns their bytes together.

    Args:
        output: Where to.
        tables: The scene.
        effort: 0 to 6, of the WebP encoder.
        prefix: In front of the names of all files, such as "0_0/".
    """
    width, height = image_size(tables.meta.count)
    images: dict[str, tuple[NDArray[np.uint8], int, int]] = {
        "means_l.webp": ((tables.means & 255).astype(np.uint8), width, height),
        "means_u.webp": ((tables.means >> 8).astype(np.uint8), width, height),
        "scales.webp": (tables.scales, width, height),
        "quats.webp": (tables.quats, width, height),
        "sh0.webp": (tables.sh0, width, height),
    }
    if tables.palette is not None and tables.labels is not None:
        entries, coefficients, _ = tables.palette.shape
        pairs = np.stack([tables.labels & 255, tables.labels >> 8, tables.labels * 0], axis=1)
        images["shN_centroids.webp"] = (
            tables.palette.reshape(-1, 3),
            PALETTE_COLUMNS * coefficients,
            -(-entries // PALETTE_COLUMNS),
        )
        images["shN_labels.webp"] = (pairs.astype(np.uint8), width, height)
    num_bytes = 0
    with ThreadPoolExecutor(2) as pool:
        encoded = pool.map(
            lambda image: encode_image(*image, quality=75, method=effort), images.values()
        )
        for name, data in zip(images, encoded, strict=True):
            output.write(prefix + name, data)
            num_bytes += len(data)
    text = json.dumps(meta_json(tables.meta), separators=(",", ":"), allow_nan=False).encode()
    output.write(prefix + META, text)
    return num_bytes + len(text)


def meta_json(meta: SogMeta) -> dict[str, Any]:
    """`meta.json` as an object, in the layout of its version."""
    linear = meta.version == 1

    def table(*columns: NDArray[np.float32]) -> dict[str, Any]:
        if not linear:
            return {"codebook": columns[0].tolist()}
        return {
            "mins": [float(column[0]) for column in columns],
            "maxs": [float(column[-1]) for column in columns],
        }

    ends = {"mins": meta.mins.tolist(), "maxs": meta.maxs.tolist()}
    shape = {"shape": [meta.count, 3]} if linear else {}
    root: dict[str, Any] = {} if linear else {"version": 2}
    root["asset"] = {"generator": GENERATOR}
    if not linear:
        root["count"] = meta.count
    if meta.model:
        root["model"] = meta.model
    root["means"] = {**shape, **ends, "files": ["means_l.webp", "means_u.webp"]}
    root["scales"] = {**table(*meta.scale_table), "files": ["scales.webp"]}
    root["quats"] = {"files": ["quats.webp"]}
    root["sh0"] = {**table(*meta.color_table, meta.logit_table), "files": ["sh0.webp"]}
    if meta.palette_table is not None:
        values = (
            {
                "mins": float(meta.palette_table[0]),
                "maxs": float(meta.palette_table[-1]),
                "quantization": 8,
            }
            if linear
            else {"count": meta.palette_count, "bands": meta.bands, **table(meta.palette_table)}
        )
        root["shN"] = {**values, "files": ["shN_centroids.webp", "shN_labels.webp"]}
    return root
