"""Factors in few bytes: planes as Tucker decompositions, all numbers on grids.

A plane [Ga, Gb, R] gets the core shape that is best for a number of values (`fields.ranks`); cells
of core and factors are as wide as balances rounding with what the truncation leaves out.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vq.asset import AssetWriter

from ..grids.rows import read_rows, write_rows
from ..ranks import best_core_shape, tucker


def write_plane(
    writer: AssetWriter,
    name: str,
    plane: NDArray[np.float32],
    spectra: list[NDArray[np.float64]],
    share: float,
) -> None:
    """Append core and factors of a plane.

    Args:
        writer: The file.
        name: Of the parameter.
        plane: [Ga, Gb, R].
        spectra: Its `mode_spectra`.
        share: Of its numbers that core and factors may have.
    """
    smallest = 1 + sum(plane.shape)
    shape = best_core_shape(spectra, max(smallest, round(share * plane.size)))
    core, factors = tucker(plane, shape.ranks)
    energy = float(np.square(core).sum())
    left_out = max(shape.surrogate, 1e-6 * energy, 1e-12)
    step = math.sqrt(12 * left_out / core.size)
    write_rows(writer, f"{name}.core", core.reshape(-1, core.shape[2]).astype(np.float32), step)
    for mode, factor in enumerate(factors):
        # An error in a factor counts once for each unit of the core's energy.
        step = math.sqrt(4 * left_out / (len(factor) * max(energy, 1e-12)))
        write_rows(writer, f"{name}.factor{mode}", factor.astype(np.float32), min(step, 0.05))
    dims = np.array(plane.shape + core.shape, dtype=np.int32)
    writer.array(f"{name}.shape", writer.encode(f"{name}.shape", dims, "raw"))


def expanded(arrays: dict[str, NDArray], shapes: dict[str, tuple[int, ...]]) -> dict[str, NDArray]:
    """The parameters, by name, of what `compress` wrote.

    Args:
        arrays: As decoded.
        shapes: Of all parameters.

    Raises:
        ValueError: Shapes disagree.
    """
    found = {}
    for name, shape in shapes.items():
        if f"{name}.core" not in arrays:
            found[name] = read_rows(arrays[name], shape)
            continue
        dims = [int(n) for n in arrays[f"{name}.shape"]]
        if len(dims) != 6 or (dims[0] * dims[1], dims[2]) != tuple(shape) or min(dims) < 1:
            raise ValueError(f"`{name}` has another shape, {dims}")
        value = read_rows(arrays[f"{name}.core"], tuple(dims[3:]))
        for mode in range(3):
            factor = read_rows(arrays[f"{name}.factor{mode}"], (dims[mode], dims[3 + mode]))
            value = np.moveaxis(np.tensordot(factor, value, axes=(1, mode)), 0, mode)
        found[name] = np.ascontiguousarray(value.reshape(shape), dtype=np.float32)
    return found
