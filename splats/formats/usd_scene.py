"""The prims of a USD layer that are splats, with their matrices and arrays.

Reference: openusd.org, UsdVolParticleField3DGaussianSplat (26.03) and UsdGeomXformable.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from captures.rotations import quats_to_rotmats

from .placement import check_placement
from .usd_text import Numbers, Prim, UsdText, Value

SPLAT_TYPE = "ParticleField3DGaussianSplat"
"""Schema name of the prims."""
COEFFICIENTS = "radiance:sphericalHarmonicsCoefficients"
DEGREE = "radiance:sphericalHarmonicsDegree"

_AXES = {"X": 0, "Y": 1, "Z": 2}


@dataclass(frozen=True)
class SplatPrim:
    """One splat prim."""

    prim: Prim
    """Its properties."""
    matrix: Float[Tensor, "4 4"]
    """T_world_prim for column vectors, float64."""

    def array(self, name: str) -> tuple[Numbers, int] | None:
        """Where the numbers of `name` are and the property's offset; half precision as second."""
        for candidate in (name, f"{name}h"):
            if candidate in self.prim.properties:
                _, value, offset = self.prim.properties[candidate]
                if isinstance(value, Numbers):
                    return value, offset
        return None


def splat_prims(layer: UsdText) -> list[SplatPrim]:
    """The splat prims of a layer in order.

    Raises:
        FormatError: There are none, or one stands under a transform that is not read.
    """
    found = [found for prim in layer.prims for found in _walk(layer, prim, _identity())]
    if not found:
        layer.fail("prims", f"no prim of type {SPLAT_TYPE} is in this layer; no splats here.", 0)
    return found


def _walk(layer: UsdText, prim: Prim, parent: Float[Tensor, "4 4"]) -> Iterator[SplatPrim]:
    matrix = _local_to_parent(layer, prim, parent)
    if prim.kind == SPLAT_TYPE:
        try:
            check_placement(matrix)
        except ValueError as error:
            layer.fail(f"{prim.name}.xformOpOrder", str(error), prim.offset)
        yield SplatPrim(prim, matrix)
    for child in prim.children:
        yield from _walk(layer, child, matrix)


def _local_to_parent(
    layer: UsdText, prim: Prim, parent: Float[Tensor, "4 4"]
) -> Float[Tensor, "4 4"]:
    """`parent` times the transform operations of a prim, the first outermost."""
    _, order, offset = prim.properties.get("xformOpOrder", ("", None, prim.offset))
    matrix = parent
    for item in order if isinstance(order, list) else []:
        name = item.decode(errors="replace").strip("\"'") if isinstance(item, bytes) else ""
        if name == "!resetXformStack!":
            matrix = _identity()
            continue
        inverted = name.startswith("!invert!")
        name = name.removeprefix("!invert!")
        if name not in prim.properties:
            layer.fail(f"{prim.name}.xformOpOrder", f"{name!r} is no property here.", offset)
        step = _operation(layer, prim, name)
        if inverted:
            if abs(float(torch.linalg.det(step))) < 1e-30:
                layer.fail(f"{prim.name}.{name}", "the matrix has no inverse.", offset)
            step = torch.linalg.inv(step)
        matrix = matrix @ step
    return matrix


def _operation(layer: UsdText, prim: Prim, name: str) -> Float[Tensor, "4 4"]:
    """The matrix of one transform operation for column vectors."""
    _, value, offset = prim.properties[name]
    kind = name.split(":")[1] if name.startswith("xformOp:") else ""
    where = f"{prim.name}.{name}"
    matrix = _identity()
    if kind == "transform":
        return _floats(layer, value, 16, where, offset).reshape(4, 4).T.contiguous()
    if kind == "translate":
        matrix[:3, 3] = _floats(layer, value, 3, where, offset)
    elif kind == "scale":
        matrix[:3, :3] = _floats(layer, value, 3, where, offset).diag()
    elif kind == "orient":
        quat = _floats(layer, value, 4, where, offset)
        if not 0.5 < float(quat.norm()) < 2:
            layer.fail(where, f"expected a unit quaternion, got {quat.tolist()}.", offset)
        matrix[:3, :3] = quats_to_rotmats(quat)
    elif kind.startswith("rotate") and sorted(axes := kind.removeprefix("rotate")) == list("XYZ"):
        angles = _floats(layer, value, 3, where, offset).tolist()
        for axis in axes:  # rotateXYZ turns about X first
            matrix[:3, :3] = _turn(_AXES[axis], angles[_AXES[axis]]) @ matrix[:3, :3]
    elif kind in ("rotateX", "rotateY", "rotateZ"):
        angle = _floats(layer, value, 1, where, offset).item()
        matrix[:3, :3] = _turn(_AXES[kind[-1]], angle)
    else:
        layer.fail(where, "expected translate, scale, orient, rotate or transform.", offset)
    return matrix


def _turn(axis: int, degrees: float) -> Float[Tensor, "3 3"]:
    half = math.radians(degrees) / 2
    quat = torch.zeros(4, dtype=torch.float64)
    quat[0], quat[1 + axis] = math.cos(half), math.sin(half)
    return quats_to_rotmats(quat)


def _floats(
    layer: UsdText, value: Value, count: int, where: str, offset: int
) -> Float[Tensor, " count"]:
    """All numbers in a value, nested tuples flattened."""
    words: list[bytes] = []
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += reversed(item)
        elif isinstance(item, bytes):
            words.append(item)
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        layer.fail(where, f"expected {count} finite numbers, got {words[:4]!r}.", offset)
    return torch.tensor(numbers, dtype=torch.float64)


def _identity() -> Float[Tensor, "4 4"]:
    return torch.eye(4, dtype=torch.float64)
