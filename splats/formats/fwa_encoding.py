"""Gaussians as the sections and codec graphs of an asset, exact or quantised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor

from vq.asset import (
    AssetWriter,
    Node,
    PlacedVectorsCodec,
    SetCodec,
    columns,
    concatenate,
    constant,
    linear,
    reshape,
    scale,
    set_order,
    stack,
)
from vq.transforms.klt import fit_klt

from ..gaussians import Gaussians
from .fwa_quantization import Integers, Steps, quantize

ARRAYS = ("means", "log_scales", "quats", "logit_opacities", "sh0", "shN")
"""What a file of kind "splats" holds: the fields of `Gaussians`, the most telling first."""

_BASIS_BITS = 14
_MEAN_DECIMALS = 3  # a twentieth of a step; what is cut off moves into the coefficients


@dataclass(frozen=True)
class SceneFacts:
    """What a file says beside the numbers."""

    frame: str
    """Directions of +X, +Y and +Z."""
    antialiased: bool
    """Whether renderers shall apply the opacity compensation."""
    model: str
    """ "3dgs" or "2dgs"."""
    provenance: Mapping[str, Any]
    """Which program made it, from what."""


def encode_exactly(gaussians: Gaussians, facts: SceneFacts) -> AssetWriter:
    """Every float32 bit, in the given order."""
    writer = _writer(gaussians, facts)
    for name in ARRAYS:
        values = getattr(gaussians, name).numpy()
        if values.size:
            writer.array(name, writer.encode(name, values, "planes"))
        else:
            writer.array(name, constant(0.0, "float32", values.shape))
    return writer


@dataclass(frozen=True)
class Layer:
    """Gaussians that are coded together, as one set."""

    rows: Int64[Tensor, "_"]
    """Which."""
    steps: Steps
    """Of their grids; the lattice of the positions is that of all layers."""
    growth: float = 1.0
    """By how much the scales of all Gaussians that are there grow while a reader has this layer
    and those before it only; 1 for the last."""


def encode_quantized(
    gaussians: Gaussians,
    facts: SceneFacts,
    *,
    layers: Sequence[Layer],
    sh_step: float,
    fast: bool,
) -> tuple[AssetWriter, Int64[Tensor, "N"]]:
    """Integers on grids, without their order.

    Args:
        gaussians: What to write.
        facts: What the file says of it.
        layers: Every Gaussian in exactly one. What comes first shows first; one layer is smallest
            unless layers differ in steps.
        sh_step: Of the coefficients of the harmonics above degree 0, in an orthonormal basis.
        fast: Code without contexts: larger, and several times as quick.

    Returns:
        The file to be, and its order: row i of the file is row `order[i]` of `gaussians`.
    """
    several = len(layers) > 1
    growth = tuple(layer.growth for layer in layers) if several else None
    writer = _writer(gaussians, facts, growth=growth)
    codec = SetCodec(preset="fast" if fast else "small")
    orders: list[NDArray[np.int64]] = []
    matrices: list[NDArray[np.int32]] = []
    coded: list[Node] = []
    for number, layer in enumerate(layers):
        matrix = _matrix(quantize(gaussians[layer.rows], layer.steps))
        own = set_order(matrix)
        orders.append(layer.rows.numpy()[own])
        matrices.append(matrix[own])
        coded.append(writer.encode(f"set{number}" if several else "set", matrices[-1], codec))
    nodes = [_set_nodes(node, layer.steps) for node, layer in zip(coded, layers, strict=True)]
    for name in ARRAYS[:5]:
        parts = [node[name] for node in nodes]
        writer.array(name, stack(*parts) if several else parts[0])
    order = np.concatenate(orders)
    index = torch.from_numpy(order)
    shN = gaussians.shN[index].numpy()
    if not shN.size:
        harmonics = constant(0.0, "float32", shN.shape)
    elif fast:
        harmonics = _harmonics_without_contexts(writer, shN, step=sh_step)
    else:
        places = stack(*coded) if several else coded[0]
        points = (columns(places, 0, 3), np.concatenate(matrices)[:, :3])
        codec = PlacedVectorsCodec(step=sh_step)
        harmonics = writer.encode("sh", shN, codec, inputs=[points])
    writer.array("shN", harmonics)
    return writer, index


def _writer(
    gaussians: Gaussians, facts: SceneFacts, *, growth: tuple[float, ...] | None = None
) -> AssetWriter:
    properties: dict[str, Any] = {
        "num_primitives": len(gaussians),
        "sh_degree": gaussians.sh_degree,
        "antialiased": facts.antialiased,
        "model": facts.model,
    }
    if growth is not None:
        properties["layer_growth"] = list(growth)
    frame = {"axes": facts.frame}
    return AssetWriter("splats", frame=frame, properties=properties, provenance=facts.provenance)


def _matrix(integers: Integers) -> np.ndarray:
    """Rows of the set codec: position, then what tells most about what follows."""
    parts = (
        integers.positions,
        integers.log_scales,
        integers.logit_opacities,
        integers.colors,
        integers.rotations,
    )
    return np.concatenate(parts, axis=1)


def _set_nodes(coded: Node, steps: Steps) -> dict[str, Node]:
    """How the arrays come out of the columns that `_matrix` joined."""
    count = coded.type.shape[0]
    vectors = scale(columns(coded, 10, 13), step=[steps.rotation])
    opacities = scale(columns(coded, 6, 7), step=[steps.logit_opacity])
    colors = scale(columns(coded, 7, 10), step=[steps.color])
    sizes = [steps.log_scale] if steps.thin == 1 else steps.log_scales
    return {
        "means": scale(columns(coded, 0, 3), step=[steps.position]),
        "log_scales": scale(columns(coded, 3, 6), step=sizes),
        "quats": concatenate(constant(1.0, "float32", (count, 1)), vectors),
        "logit_opacities": reshape(opacities, (count,)),
        "sh0": reshape(colors, (count, 1, 3)),
    }


def _harmonics_without_contexts(
    writer: AssetWriter, shN: NDArray[np.float32], *, step: float
) -> Node:
    """Coefficients [N, K, 3] on a grid in the directions of their variance."""
    rows = shN.reshape(len(shN), -1)
    basis = fit_klt(rows, bits=_BASIS_BITS)
    basis = replace(basis, mean=np.round(basis.mean, _MEAN_DECIMALS))
    found = np.rint(basis.forward(rows) / step).astype(np.int32)
    used = max(1, 1 + int(np.flatnonzero(found.any(axis=0)).max(initial=0)))
    directions = writer.encode("sh_basis", basis.rows[:used], "rans")
    coefficients = writer.encode("sh", found[:, :used], "rans")
    mean = [float(str(value)) for value in basis.mean]  # the decimals, not their float32
    node = linear(coefficients, directions, step=step * 2.0**-_BASIS_BITS, origin=mean)
    return reshape(node, shN.shape)
