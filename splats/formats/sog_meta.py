"""`meta.json` of a SOG scene, both versions, checked.

Both versions store every value as a byte (positions as two) that a table turns into a number;
version 2 writes the tables out as codebooks, version 1 gives the ends of linear ones.

Reference: PlayCanvas developer site, "The SOG Format"; github.com/playcanvas/splat-transform,
src/lib/readers/read-sog.ts and read-sog-v1.ts (version 3.7).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .sog_archive import META, SogFiles

MIN_ALPHA = 1e-6
"""Opacities 0 and 1 decode this far from the ends, so that their logits are finite."""
COEFFICIENTS = (0, 3, 8, 15)
"""Harmonics above degree 0 per channel, by degree."""

_MAX_LOG_POSITION = 88.0  # exp of it is the largest float32
_MAX_ROWS_PER_BYTE = 1024 / 9  # the limit of SPZ readers; honest scenes take 10 bytes a row


@dataclass(frozen=True)
class SogMeta:
    """What `meta.json` says."""

    version: int
    """1 or 2."""
    count: int
    """Number of Gaussians."""
    model: str
    """ "antialiased", "2dgs" or empty."""
    mins: NDArray[np.float64]
    """[3], smallest sign(x) ln(1 + |x|) of the positions."""
    maxs: NDArray[np.float64]
    """[3], largest."""
    scale_table: NDArray[np.float32]
    """[3, 256], log scale of each byte on each axis."""
    color_table: NDArray[np.float32]
    """[3, 256], degree-0 coefficient of each byte in each channel."""
    logit_table: NDArray[np.float32]
    """[256], opacity before the sigmoid."""
    palette_table: NDArray[np.float32] | None
    """[256], harmonic of each byte of the palette; None for degree 0."""
    palette_count: int | None
    """Rows of the palette; None where the image's size says it (version 1)."""
    bands: int | None
    """Degree of the harmonics; None where the image's size says it (version 1)."""
    names: dict[str, tuple[str, ...]]
    """Image files of means, scales, quats, sh0 and shN."""


def read_meta(files: SogFiles) -> SogMeta:
    """Parse and check `meta.json`.

    Raises:
        FormatError: Not JSON, or fields that are missing, of another type or out of range.
    """
    data = files.read(META)
    try:
        root = json.loads(data)
    except json.JSONDecodeError as error:
        raise files.fail(META, error.msg, field="JSON", offset=error.pos) from None
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise files.fail(META, str(error), field="JSON") from None
    return _Parser(files, root).parse()


class _Parser:
    """Takes typed values out of nested JSON objects."""

    def __init__(self, files: SogFiles, root: Any) -> None:
        self.files, self.root = files, root

    def parse(self) -> SogMeta:
        version = self.take("version") if "version" in self.object("") else 1
        if version not in (1, 2):
            raise self.wrong("version", "1 or 2", version)
        shape = self.take("means.shape") if version == 1 else None
        count = shape[0] if isinstance(shape, list) and shape else self.take("count")
        most = int(self.files.num_bytes * _MAX_ROWS_PER_BYTE)
        if type(count) is not int or not 0 < count <= most:
            field = "count" if version == 2 else "means.shape"
            raise self.wrong(field, f"a count of 1 to {most} (by the files' size)", count)
        model = self.root.get("model", "")
        has_palette = self.root.get("shN") is not None
        names = {"means": 2, "scales": 1, "quats": 1, "sh0": 1}
        if has_palette:
            names["shN"] = 2
        counted = has_palette and version == 2
        linear = version == 1
        alphas = (np.arange(256) / 255).clip(MIN_ALPHA, 1 - MIN_ALPHA)
        colors = self.linear("sh0", 4) if linear else self.codebook("sh0", 3)
        return SogMeta(
            version=version,
            count=count,
            model=model if isinstance(model, str) else "",
            mins=self.numbers("means.mins", 3, _MAX_LOG_POSITION),
            maxs=self.numbers("means.maxs", 3, _MAX_LOG_POSITION),
            scale_table=self.linear("scales", 3) if linear else self.codebook("scales", 3),
            color_table=colors[:3],
            logit_table=colors[3] if linear else np.log(alphas / (1 - alphas)).astype(np.float32),
            palette_table=self.palette_table(linear) if has_palette else None,
            palette_count=self.integer("shN.count", 1, 1 << 16) if counted else None,
            bands=self.integer("shN.bands", 1, 3) if counted else None,
            names={name: self.file_names(f"{name}.files", size) for name, size in names.items()},
        )

    def wrong(self, field: str, expected: str, found: Any) -> ValueError:
        text = repr(found)
        text = text if len(text) <= 60 else text[:60] + "..."
        return self.files.fail(META, f"expected {expected}, got {text}", field=field)

    def object(self, field: str) -> dict[str, Any]:
        value = self.root.get(field) if field else self.root
        if not isinstance(value, dict):
            raise self.wrong(field or "the file", "an object", value)
        return value

    def take(self, field: str) -> Any:
        parent, _, key = field.rpartition(".")
        holder = self.object(parent)
        if key not in holder:
            raise self.wrong(field, "a value", None)
        return holder[key]

    def integer(self, field: str, least: int, most: int) -> int:
        value = self.take(field)
        if type(value) is not int or not least <= value <= most:
            raise self.wrong(field, f"an integer from {least} to {most}", value)
        return value

    def numbers(self, field: str, count: int, limit: float = 1e30) -> NDArray[np.float64]:
        value = self.take(field)
        good = isinstance(value, list) and len(value) == count
        if not good or not all(_is_number(item, limit) for item in value):
            raise self.wrong(field, f"{count} finite numbers of at most {limit:g}", value)
        return np.array(value, np.float64)

    def codebook(self, field: str, copies: int) -> NDArray[np.float32]:
        return np.tile(self.numbers(f"{field}.codebook", 256).astype(np.float32), (copies, 1))

    def linear(self, field: str, count: int) -> NDArray[np.float32]:
        low = self.numbers(f"{field}.mins", count)[:, None]
        high = self.numbers(f"{field}.maxs", count)[:, None]
        return (low + (high - low) * (np.arange(256) / 255)).astype(np.float32)

    def palette_table(self, linear: bool) -> NDArray[np.float32]:
        if not linear:
            return self.codebook("shN", 1)[0]
        low, high = self.take("shN.mins"), self.take("shN.maxs")
        if not (_is_number(low, 1e30) and _is_number(high, 1e30)):
            raise self.wrong("shN.mins, shN.maxs", "two finite numbers", [low, high])
        return (low + (high - low) * (np.arange(256) / 255)).astype(np.float32)

    def file_names(self, field: str, count: int) -> tuple[str, ...]:
        value = self.take(field)
        good = isinstance(value, list) and len(value) >= count
        if not good or not all(isinstance(item, str) and item for item in value):
            raise self.wrong(field, f"{count} file names", value)
        return tuple(value[:count])


def _is_number(value: Any, limit: float) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) <= limit
