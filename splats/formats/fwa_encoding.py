"""Gaussians as the sections and codec graphs of an asset, exact or quantised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from vq.asset import (
    AssetWriter,
    Node,
    PlacedVectorsCodec,
    SetCodec,
    coarseness,
    columns,
    concatenate,
    constant,
    linear,
    reshape,
    scale,
    set_order,
    shift,
    stack,
)
from vq.transforms.klt import fit_klt

from ..gaussians import Gaussians
from .fwa_quantization import Integers, Steps, quantize

ARRAYS = ("means", "log_scales", "quats", "logit_opacities", "sh0", "shN")
"""What a file of kind "splats" holds: the fields of `Gaussians`, the most telling first."""

_BASIS_BITS = 14
_BASIS_ROWS = 1 << 17  # of which directions are found; more tell no more
_PART_ROWS = 1 << 13  # that a cache holds
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
    growth: float = 1.0
    """By how much the scales of all Gaussians that are there grow while a reader has this layer
    and those before it only; 1 for the last."""


def encode_quantized(
    gaussians: Gaussians,
    facts: SceneFacts,
    *,
    steps: Steps,
    layers: Sequence[Layer] = (),
    sh_step: float,
    fast: bool,
) -> tuple[AssetWriter, Int64[Tensor, "N"]]:
    """Integers on grids, without their order.

    Args:
        gaussians: What to write.
        facts: What the file says of it.
        steps: Of the grids.
        layers: What comes first shows first; every Gaussian is in exactly one. None at all is one
            set, which is smallest.
        sh_step: Of the coefficients of the harmonics above degree 0, in an orthonormal basis; of
            Gaussians of usual steps.
        fast: Code without contexts: larger, and several times as quick.

    Returns:
        The file to be, and its order: row i of the file is row `order[i]` of `gaussians`.
    """
    layers = layers or (Layer(torch.arange(len(gaussians))),)
    several = len(layers) > 1
    growth = tuple(layer.growth for layer in layers) if several else None
    writer = _writer(gaussians, facts, growth=growth)
    graded = steps.graded
    codec = SetCodec(preset="fast" if fast else "small", coarsenings=graded and graded.coarsenings)
    bare = replace(gaussians, shN=gaussians.shN[:, :0])
    orders: list[NDArray[np.int64]] = []
    parts: list[Integers] = []
    coded: list[Node] = []
    for number, layer in enumerate(layers):
        integers = quantize(bare[layer.rows], steps)
        matrix = _matrix(integers, steps)
        own = set_order(matrix)
        orders.append(layer.rows.numpy()[own])
        parts.append(integers[torch.from_numpy(own)])
        coded.append(writer.encode(f"set{number}" if several else "set", matrix[own], codec))
    nodes = [_set_nodes(node, steps) for node in coded]
    for name in ARRAYS[:5]:
        arrays = [node[name] for node in nodes]
        writer.array(name, stack(*arrays) if several else arrays[0])
    index = torch.from_numpy(np.concatenate(orders))
    rows = stack(*coded) if several else coded[0]
    shN = gaussians.shN[index]
    writer.array("shN", _harmonics(writer, shN, rows, parts, steps, step=sh_step, fast=fast))
    return writer, index


def _harmonics(
    writer: AssetWriter,
    shN: Float[Tensor, "N rest 3"],
    rows: Node,
    integers: Sequence[Integers],
    steps: Steps,
    *,
    step: float,
    fast: bool,
) -> Node:
    """Coefficients in steps that follow from what `rows` hold."""
    if not shN.numel():
        return constant(0.0, "float32", tuple(shN.shape))
    graded = steps.graded
    if graded is not None:
        octaves = torch.cat([part.harmonics_octaves(steps) for part in integers])
        shN = shN * torch.exp2(-octaves)[:, None, None]
    numbers = shN.numpy()
    if fast:
        node = _harmonics_without_contexts(writer, numbers, step=step)
    else:
        places = torch.cat([part.positions for part in integers]).to(torch.int32).numpy()
        codec = PlacedVectorsCodec(step=step)
        node = writer.encode("sh", numbers, codec, inputs=[(columns(rows, 0, 3), places)])
    if graded is None:
        return node
    attributes = columns(rows, 3, rows.type.shape[1])
    k = coarseness(attributes, graded.harmonics)
    return shift(node, k, exponent=-graded.usual_coarseness)


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


def _matrix(integers: Integers, steps: Steps) -> NDArray[np.int32]:
    """Rows of the set codec: position, then what tells most about what follows."""
    units = steps.of_integers
    parts = {
        "position": (integers.positions, units.position),
        "log_scale": (integers.log_scales, units.log_scale),
        "logit_opacity": (integers.logit_opacities, units.logit_opacity),
        "color": (integers.colors, units.color),
        "rotation": (integers.rotations, units.rotation),
    }
    for name, (numbers, step) in parts.items():
        largest = int(numbers.abs().max()) if numbers.numel() else 0
        if largest >= 1 << 31:
            raise ValueError(
                f"`{name}`: a step of {step:g} is too small for values up to {largest * step:g}: "
                "at most 2^31 steps fit; use a larger one."
            )
    return torch.cat([numbers for numbers, _ in parts.values()], 1).to(torch.int32).numpy()


def _set_nodes(coded: Node, steps: Steps) -> dict[str, Node]:
    """How the arrays come out of the columns that `_matrix` joined."""
    count = coded.type.shape[0]
    steps = steps.of_integers
    vectors = scale(columns(coded, 10, 13), step=[steps.rotation])
    opacities = scale(columns(coded, 6, 7), step=[steps.logit_opacity])
    colors = scale(columns(coded, 7, 10), step=[steps.color])
    return {
        "means": scale(columns(coded, 0, 3), step=[steps.position]),
        "log_scales": scale(columns(coded, 3, 6), step=[steps.log_scale]),
        "quats": concatenate(constant(1.0, "float32", (count, 1)), vectors),
        "logit_opacities": reshape(opacities, (count,)),
        "sh0": reshape(colors, (count, 1, 3)),
    }


def _harmonics_without_contexts(
    writer: AssetWriter, shN: NDArray[np.float32], *, step: float
) -> Node:
    """Coefficients [N, K, 3] on a grid in the directions of their variance."""
    rows = shN.reshape(len(shN), -1)
    basis = fit_klt(rows[:: -(-len(rows) // _BASIS_ROWS)], bits=_BASIS_BITS)
    basis = replace(basis, mean=np.round(basis.mean, _MEAN_DECIMALS))
    found = np.empty(rows.shape, np.int32)
    for begin in range(0, len(rows), _PART_ROWS):
        part = slice(begin, begin + _PART_ROWS)
        found[part] = np.rint(basis.forward(rows[part]) / step)
    used = max(1, 1 + int(np.flatnonzero(found.any(axis=0)).max(initial=0)))
    directions = writer.encode("sh_basis", basis.rows[:used], "rans")
    coefficients = writer.encode("sh", found[:, :used], "rans")
    mean = [float(str(value)) for value in basis.mean]  # the decimals, not their float32
    node = linear(coefficients, directions, step=step * 2.0**-_BASIS_BITS, origin=mean)
    return reshape(node, shN.shape)
