"""Fields with an occupancy grid as assets.

Arrays: every parameter by its name, every float32 bit of it, or in compressed files what the kind
makes of them, and `occupied`, the bits of the cells
that are drawn (x slowest, eight to a byte, the first the highest). The header's properties hold the
field's own description and the sampler's step and threshold, its frame the sampler's box and the
similarity from the field's axes to the scene's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from captures import Similarity
from splats.scene import scene_file
from vq.asset import AssetWriter, open_asset

from ..finite import finite_array
from ..rendering import SampledField
from ..samplers import OccupancyGrid
from ..scene import FieldScene
from .contract import GridField
from .contracted import ContractedGrid, in_world

_LARGEST = 1 << 27
"""Most numbers in one array of a file that is believed."""
_MAX_CELLS = 512
_MAX_STEPS = 1 << 14


def save_grid_field(
    field: GridField,
    sampler: OccupancyGrid,
    path: Path,
    *,
    T_source_field: Similarity | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a field and the cells that are drawn.

    Raises:
        FileExistsError: `path` exists and `overwrite` is False.
        ValueError: A parameter is not finite.
    """
    writer = field_writer(field, sampler, T_source_field or Similarity(), coded=False)
    for name, values in field.state_dict().items():
        array = finite_array(name, values)
        codec = "planes" if array.dtype == np.float32 else "adaptive"
        writer.array(name, writer.encode(name, array, codec))
    return writer.write(path, overwrite=overwrite)


def field_writer(
    field: GridField, sampler: OccupancyGrid, T_source_field: Similarity, *, coded: bool
) -> AssetWriter:
    """A file with everything but the parameters.

    Args:
        field: What it is of.
        sampler: Knows the cells that are drawn.
        T_source_field: From the field's frame to the scene's.
        coded: Whether the parameters will be those that `GridField.decoded` takes.
    """
    writer = AssetWriter(
        field.KIND,
        frame={
            "bounds": sampler.bounds.tolist(),
            "T_source_field": T_source_field.to_json(),
        },
        properties={
            "num_primitives": field.num_primitives,
            "num_parameters": field.num_parameters,
            "step": sampler.step,
            "cells": sampler.resolution,
            "contracted": isinstance(sampler, ContractedGrid),
            "coded": coded,
            "field": field.description(),
        },
        provenance={"program": "fieldwright"},
    )
    bits = np.packbits(sampler.occupied.cpu().numpy().reshape(-1))
    writer.array("occupied", writer.encode("occupied", bits, "adaptive"))
    return writer


def load_grid_field(
    kind: type[GridField], path: Path
) -> tuple[GridField, OccupancyGrid, Similarity]:
    """The field in a file, where it is drawn, and the similarity from its frame to the scene's.

    Raises:
        ValueError: No asset of this kind, or a damaged one.
    """
    with open_asset(path) as asset:
        header = asset.header
        if header.kind != kind.KIND:
            raise ValueError(f"{path} holds {header.kind!r}, expected {kind.KIND!r}.")
        try:
            field = kind.blank(header.properties["field"])
            if field.num_parameters > _LARGEST:
                raise ValueError(f"{field.num_parameters} numbers are more than a field may have")
            arrays = asset.arrays()
            bits = arrays.pop("occupied")
            if header.properties["coded"]:
                arrays = field.decoded(arrays)
            field.load_state_dict({k: torch.from_numpy(v) for k, v in arrays.items()})
            sampler = _sampler(header.frame["bounds"], header.properties, bits)
            similarity = Similarity.from_json(header.frame["T_source_field"])
        except (KeyError, TypeError, IndexError, AttributeError, RuntimeError, ValueError) as error:
            raise ValueError(f"{path} lacks what a {kind.KIND} field needs: {error}.") from None
    for name, values in field.named_parameters():
        if not bool(torch.isfinite(values).all()):
            raise ValueError(f"{path}: `{name}` holds numbers that are not finite.")
    return field.requires_grad_(False), sampler, similarity


def load_grid_scene(
    kind: type[GridField], path: str | Path, *, device: torch.device | str = "cpu"
) -> FieldScene:
    """The scene in an asset file, or that of a run directory; it renders on the CPU.

    Raises:
        FileNotFoundError: Nothing there, or a run that has no scene yet.
        ValueError: No asset of this kind, or a damaged one.
    """
    del device
    file = scene_file(Path(path))
    field, sampler, similarity = load_grid_field(kind, file)
    return FieldScene(scene_renderer(field, sampler), T_scene_field=similarity, path=file)


def scene_renderer(field: GridField, sampler: OccupancyGrid) -> SampledField:
    """What draws a field."""
    num_bytes = sum(parameter.nbytes for parameter in field.parameters())
    return SampledField(in_world(field, sampler), sampler, num_bytes, field.num_primitives)


def _sampler(bounds: object, properties: Mapping[str, Any], bits: np.ndarray) -> OccupancyGrid:
    cells = int(properties["cells"])
    if not 1 <= cells <= _MAX_CELLS:
        raise ValueError(f"`cells` must be 1 to {_MAX_CELLS}, got {cells}")
    box = torch.tensor(bounds, dtype=torch.float32).reshape(2, 3)
    step = float(properties["step"])
    kind = ContractedGrid if properties.get("contracted") is True else OccupancyGrid
    sampler = kind(box, step=step, resolution=cells)
    if step * _MAX_STEPS < float((box[1] - box[0]).max()):
        raise ValueError(f"`step` must be at least 1 / {_MAX_STEPS} of the box, got {step}")
    flags = np.unpackbits(bits, count=cells**3).astype(bool)
    sampler.occupied = torch.from_numpy(flags).view(cells, cells, cells)
    return sampler
