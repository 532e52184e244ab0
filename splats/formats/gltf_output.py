"""The JSON and the binary part of a glTF file with one splat primitive."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..gaussians import Gaussians
from ..sh import SH_C0
from .activation import opacities_of, scales_of, unit_quats_of
from .contract import Source
from .gltf_scene import EXTENSION

_FLOAT, _BYTE = 5126, 5121
_ARRAY_BUFFER = 34962
_TYPES = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}


@dataclass(frozen=True)
class Attribute:
    """One attribute of the primitive: all its rows stand together."""

    name: str
    """Semantic of the attribute."""
    width: int
    """Components per row."""
    dtype: str
    """NumPy code of the components: "<f4", or "u1" for normalized bytes."""
    values: Callable[[Gaussians], Tensor | NDArray[Any]]
    """Rows [n, width] or [n] of some Gaussians."""

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.width * np.dtype(self.dtype).itemsize


def attributes_of(sh_degree: int, *, fallback_colors: bool) -> list[Attribute]:
    """The attributes of a primitive in file order.

    Args:
        sh_degree: 0 to 3.
        fallback_colors: Add COLOR_0, which viewers that know no splats show as points.
    """
    prefix = f"{EXTENSION}:"
    found = [
        Attribute("POSITION", 3, "<f4", lambda g: g.means),
        Attribute(f"{prefix}ROTATION", 4, "<f4", lambda g: unit_quats_of(g)[:, [1, 2, 3, 0]]),
        Attribute(f"{prefix}SCALE", 3, "<f4", scales_of),
        Attribute(f"{prefix}OPACITY", 1, "<f4", opacities_of),
        Attribute(f"{prefix}SH_DEGREE_0_COEF_0", 3, "<f4", lambda g: g.sh0[:, 0]),
    ]
    for degree in range(1, sh_degree + 1):
        for number in range(2 * degree + 1):
            name = f"{prefix}SH_DEGREE_{degree}_COEF_{number}"
            found.append(Attribute(name, 3, "<f4", _coefficient(degree * degree - 1 + number)))
    if fallback_colors:
        found.append(Attribute("COLOR_0", 4, "u1", _fallback_colors))
    return found


def _coefficient(place: int) -> Callable[[Gaussians], Tensor]:
    return lambda gaussians: gaussians.shN[:, place]


def _fallback_colors(gaussians: Gaussians) -> NDArray[np.uint8]:
    """Linear RGB of degree 0 and opacity [N, 4], as glTF wants vertex colors."""
    srgb = (0.5 + SH_C0 * gaussians.sh0[:, 0].double()).clamp(0, 1)
    linear = torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    rgba = torch.cat([linear, opacities_of(gaussians)[:, None].double()], dim=1)
    return (rgba * 255).round().to(torch.uint8).numpy()


def binary_bytes(attributes: list[Attribute], count: int) -> int:
    """Size of the binary part; every attribute's rows take a multiple of 4 bytes."""
    return sum(attribute.row_bytes for attribute in attributes) * count


def write_binary(file: BinaryIO, start: int, attributes: list[Attribute], source: Source) -> None:
    """Write all rows of `source`, attribute after attribute, from byte `start` on."""
    starts = np.cumsum([start, *(a.row_bytes * source.num_primitives for a in attributes)])
    row = 0
    for chunk in source.chunks():
        for attribute, base in zip(attributes, starts[:-1], strict=True):
            file.seek(int(base) + row * attribute.row_bytes)
            values = np.asarray(attribute.values(chunk)).reshape(len(chunk), attribute.width)
            file.write(np.ascontiguousarray(values, dtype=attribute.dtype).data)
        row += len(chunk)


def describe(
    attributes: list[Attribute],
    count: int,
    bounds: Float[Tensor, "2 3"],
    *,
    tags: Mapping[str, Any],
    uri: str | None,
) -> bytes:
    """The JSON of the file.

    Args:
        attributes: From `attributes_of`.
        count: Number of Gaussians.
        bounds: Smallest and largest coordinates, which `POSITION` must state.
        tags: The primitive's `extras`, for what glTF has no word for.
        uri: Name of the binary file; None where it is a chunk of the same file.
    """
    views, accessors, offset = [], [], 0
    for attribute in attributes:
        size = attribute.row_bytes * count
        views.append(
            {"buffer": 0, "byteOffset": offset, "byteLength": size, "target": _ARRAY_BUFFER}
        )
        accessor: dict[str, Any] = {"bufferView": len(accessors), "count": count}
        accessor["componentType"] = _FLOAT if attribute.dtype == "<f4" else _BYTE
        accessor["type"] = _TYPES[attribute.width]
        if attribute.dtype == "u1":
            accessor["normalized"] = True
        accessors.append(accessor)
        offset += size
    accessors[0] |= {"min": bounds[0].tolist(), "max": bounds[1].tolist()}
    primitive: dict[str, Any] = {
        "mode": 0,
        "attributes": {attribute.name: i for i, attribute in enumerate(attributes)},
        "extensions": {
            EXTENSION: {
                "kernel": "ellipse",
                "colorSpace": "srgb_rec709_display",
                "projection": "perspective",
                "sortingMethod": "cameraDistance",
            }
        },
    }
    if tags:
        primitive["extras"] = dict(tags)
    document = {
        "asset": {"version": "2.0", "generator": "fieldwright"},
        "extensionsUsed": [EXTENSION],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "splats"}],
        "meshes": [{"primitives": [primitive]}],
        "buffers": [{"byteLength": offset} | ({} if uri is None else {"uri": uri})],
        "bufferViews": views,
        "accessors": accessors,
    }
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
