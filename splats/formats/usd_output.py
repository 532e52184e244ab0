"""A USD layer with one splat prim, as text.

Reference: openusd.org, UsdVolParticleField3DGaussianSplat (26.03); attribute names are its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ..gaussians import Gaussians
from .activation import bounds_of, opacities_of, scales_of, tags_of, unit_quats_of
from .contract import Source
from .usd_scene import COEFFICIENTS, DEGREE, SPLAT_TYPE
from .usd_text import HEADER

TAG = "fieldwright:"
"""Prefix of custom attributes for what the schema has no word for."""

_NAME = "Splats"
_ARRAYS: tuple[tuple[str, int, Callable[[Gaussians], Tensor]], ...] = (
    ("point3f[] positions", 3, lambda g: g.means),
    ("quatf[] orientations", 4, unit_quats_of),
    ("float3[] scales", 3, scales_of),
    ("float[] opacities", 1, lambda g: opacities_of(g)[:, None]),
    (f"float3[] {COEFFICIENTS}", 3, lambda g: torch.cat([g.sh0, g.shN], dim=1).flatten(0, 1)),
)


@runtime_checkable
class Sink(Protocol):
    """What bytes are written to: a file, or a member of a package."""

    def write(self, data: bytes, /) -> int:
        """Take all of `data`."""
        ...


def write_layer(file: Sink, source: Source, *, up_axis: str) -> None:
    """Write `source`, which is gone through once per array.

    Args:
        file: Where to.
        source: In the axes of a stage with that up axis.
        up_axis: "Y" or "Z".

    Raises:
        ValueError: A value is NaN or infinite.
    """
    low, high = bounds_of(source).tolist()
    lines = [
        HEADER.decode(),
        "(",
        f'    defaultPrim = "{_NAME}"',
        "    metersPerUnit = 1",
        f'    upAxis = "{up_axis}"',
        ")",
        "",
        f'def {SPLAT_TYPE} "{_NAME}"',
        "{",
        f"    float3[] extent = [{_tuple(low)}, {_tuple(high)}]",
        '    uniform token projectionModeHint = "perspective"',
        '    uniform token sortingModeHint = "zDepth"',
        f"    uniform int {DEGREE} = {source.sh_degree}",
    ]
    for name, value in tags_of(source).items():
        kind, text = ("bool", "1") if value is True else ("string", f'"{value}"')
        lines.append(f"    custom {kind} {TAG}{name} = {text}")
    file.write(("\n".join(lines) + "\n").encode())
    for declaration, width, values in _ARRAYS:
        _write_array(file, source, declaration, width, values)
    file.write(b"}\n")


def _write_array(
    file: Sink,
    source: Source,
    declaration: str,
    width: int,
    values: Callable[[Gaussians], Tensor],
) -> None:
    file.write(f"    {declaration} = [".encode())
    row = "(" + ", ".join(["%.9g"] * width) + ")" if width > 1 else "%.9g"
    separator = ""
    for chunk in source.chunks():
        numbers = np.asarray(values(chunk)).reshape(-1)
        text = ", ".join([row] * (len(numbers) // width)) % tuple(numbers.tolist())
        file.write((separator + text).encode())
        separator = ", "
    file.write(b"]\n")


def _tuple(values: list[float]) -> str:
    return "(" + ", ".join(f"{value:.9g}" for value in values) + ")"
