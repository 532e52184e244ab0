"""Tri-vector fields as assets of kind "trivec".

Every file: `cells` [N, 3] and `levels` [N] of the octree and `masks` [N, 2] as halves of 32 bits.
Exact ones: `ranks` [N], `vectors` [N, 3, D, R], `densities` [N, R] and `colors` [N, K, 3, R], all
as `TrivecField` has them: nodes lie on both faces of a leaf. Coded ones: the rows of `CodedRows`.
The header's frame holds the root's cube and the similarity from the field's axes to the scene's.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captures import Similarity
from splats.scene import scene_file
from vq.asset import Asset, AssetWriter, open_asset
from vq.plan import VectorCodec

from ..finite import finite_array
from ..scene import FieldScene
from .coding import COARSEST, CodedRows, Weighed, parameters_of, scaled_rows, step_for
from .field import MAX_RANK, TrivecField
from .octree import Octree
from .renderer import TrivecRenderer
from .sensitivity import Sensitivity

KIND = "trivec"

logger = logging.getLogger(__name__)

_EXACT = ("vectors", "densities", "colors")
_TRIALS = 6
"""Files that are written at most to fill a budget."""
_CLOSE = 0.99
"""A coded file that fills this share of its budget is close enough."""


def save_trivec(
    field: TrivecField,
    path: Path,
    *,
    T_source_field: Similarity | None = None,
    overwrite: bool = False,
) -> Path:
    """Write every float32 bit of a field.

    Raises:
        FileExistsError: `path` exists and `overwrite` is False.
        ValueError: A parameter is not finite.
    """
    writer = _writer(field, T_source_field or Similarity())
    writer.array("ranks", writer.encode("ranks", field.ranks.cpu().numpy(), "adaptive"))
    for name in _EXACT:
        values = finite_array(name, getattr(field, name))
        writer.array(name, writer.encode(name, values, "planes"))
    return writer.write(path, overwrite=overwrite)


def save_coded(
    field: TrivecField,
    sensitivity: Sensitivity,
    path: Path,
    *,
    target_size: int,
    T_source_field: Similarity | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a field as well as `target_size` bytes allow, and never in more.

    Args:
        field: On the CPU; in Morton order it codes best.
        sensitivity: Of its numbers, measured on rays that matter.
        path: Where to.
        target_size: Most bytes of the file.
        T_source_field: From the field's frame to the scene's.
        overwrite: Replace an existing file.

    Raises:
        FileExistsError: `path` exists and `overwrite` is False.
        ValueError: Not even a file without components is that small.
    """
    weighed = Weighed.of(field, sensitivity)
    similarity = T_source_field or Similarity()

    def written(step: float) -> AssetWriter:
        return _coded(field, scaled_rows(weighed, step=step), similarity)

    smallest = len(written(COARSEST).to_bytes())
    if smallest > target_size:
        raise ValueError(
            f"`target_size` {target_size} is less than the {smallest} bytes that {len(field)} "
            "leaves take without any component; allow more bytes or train with fewer leaves."
        )
    best, largest = written(COARSEST), smallest
    wanted = 8.0 * (target_size - smallest)  # of the estimate, corrected by what files turn out
    for _ in range(_TRIALS):
        candidate = written(step_for(weighed, wanted))
        size = len(candidate.to_bytes())
        if largest < size <= target_size:
            best, largest = candidate, size
        if largest > _CLOSE * target_size:
            break
        aim = 0.5 * (1 + _CLOSE) * target_size
        wanted *= max(0.1, (aim - smallest) / max(size - smallest, 1))
    return best.write(path, overwrite=overwrite)


def _coded(field: TrivecField, rows: CodedRows, similarity: Similarity) -> AssetWriter:
    """A file of rows, with the leaves that have any."""
    used = torch.from_numpy(rows.counts > 0)
    rank = -(-max(1, int(rows.counts.max(initial=0))) // 8) * 8
    held = replace(
        field.subset(used),
        vectors=torch.zeros(int(used.sum()), 3, field.num_nodes, rank),
        densities=torch.zeros(int(used.sum()), rank),
        colors=torch.zeros(int(used.sum()), field.colors.shape[1], 3, rank),
    )
    writer = _writer(held, similarity)
    small = {
        "counts": rows.counts[used.numpy()],
        "gains": rows.gains[used.numpy()],
        "shares": rows.shares,
        "exponents": rows.exponents,
    }
    for name, values in small.items():
        writer.array(name, writer.encode(name, values, "adaptive"))
    codec = VectorCodec(step=1.0, codebooks=())
    for name in ("axes", "channels"):
        writer.array(name, writer.encode(name, getattr(rows, name), codec))
    return writer


def _writer(field: TrivecField, T_source_field: Similarity) -> AssetWriter:
    """A file with everything but the parameters."""
    tree = field.octree
    writer = AssetWriter(
        KIND,
        frame={
            "low": tree.low.tolist(),
            "side": tree.side,
            "unit": field.unit,
            "T_source_field": T_source_field.to_json(),
        },
        properties={
            "num_primitives": len(field),
            "nodes": field.num_nodes,
            "rank": field.rank,
            "sh_degree": field.sh_degree,
            "shift": field.shift,
        },
        provenance={"program": "fieldwright"},
    )
    integers = {
        "levels": tree.levels.numpy().astype(np.uint8),
        "cells": tree.cells.numpy().astype(np.int32),
        "masks": np.ascontiguousarray(field.masks.numpy()).view(np.int32).reshape(-1, 2),
    }
    for name, values in integers.items():
        writer.array(name, writer.encode(name, np.ascontiguousarray(values), "adaptive"))
    return writer


def load_scene(path: str | Path, *, device: torch.device | str = "cpu") -> FieldScene:
    """The scene in an asset file, or that of a run directory; it renders on the CPU.

    Raises:
        FileNotFoundError: Nothing there, or a run that has no scene yet.
        ValueError: No asset of this kind, or a damaged one.
    """
    if torch.device(device).type != "cpu":
        logger.info("Tri-vector fields render on the CPU, whatever the device.")
    file = scene_file(Path(path))
    field, similarity = load_trivec(file)
    return FieldScene(TrivecRenderer(field), T_scene_field=similarity, path=file)


def load_trivec(path: Path) -> tuple[TrivecField, Similarity]:
    """The field in a file and the similarity from its frame to the scene's.

    Raises:
        ValueError: No asset of this kind, or a damaged one.
    """
    with open_asset(path) as asset:
        if asset.header.kind != KIND:
            raise ValueError(f"{path} holds {asset.header.kind!r}, expected {KIND!r}.")
        try:
            return _field(asset), Similarity.from_json(asset.header.frame["T_source_field"])
        except (KeyError, TypeError, IndexError, RuntimeError) as error:
            raise ValueError(f"{path} lacks what a tri-vector field needs: {error}.") from None


def _field(asset: Asset) -> TrivecField:
    frame, properties = asset.header.frame, asset.header.properties
    arrays = asset.arrays()
    parameters = _coded_parameters(arrays, properties) if "axes" in arrays else None
    if parameters is None:
        tensors = [torch.from_numpy(arrays[name]) for name in _EXACT]
        ranks = torch.from_numpy(arrays["ranks"])
    else:
        tensors, ranks = list(parameters[:3]), parameters[3]
    for name, values in zip(_EXACT, tensors, strict=True):
        if not bool(torch.isfinite(values).all()):
            raise ValueError(f"`{name}` holds numbers that are not finite.")
    vectors, densities, colors = tensors
    tree = Octree(
        torch.tensor(frame["low"], dtype=torch.float32),
        float(frame["side"]),
        torch.from_numpy(arrays["levels"]).long(),
        torch.from_numpy(arrays["cells"]).long(),
    )
    _ = tree.children  # refuses overlapping leaves
    masks = torch.from_numpy(arrays["masks"]).contiguous().view(torch.int64).flatten()
    return TrivecField(
        tree,
        vectors,
        densities,
        colors,
        masks,
        ranks,
        unit=float(frame["unit"]),
        shift=float(properties["shift"]),
    )


def _coded_parameters(
    arrays: dict[str, NDArray[Any]], properties: Mapping[str, Any]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Vectors, weights of density and colours, and ranks of a coded file."""
    names = ("counts", "gains", "shares", "exponents", "axes", "channels")
    rows = CodedRows(**{name: arrays[name] for name in names})
    rank = int(properties["rank"])
    total = int(rows.counts.sum())
    lengths = {len(rows.exponents), len(rows.axes), len(rows.channels)}
    if (
        lengths != {total}
        or (len(rows.counts) and int(rows.counts.max()) > rank)
        or rank > MAX_RANK
    ):
        raise ValueError("the numbers of components disagree.")
    counts = torch.from_numpy(rows.counts.astype(np.int64)).clamp(min=1)
    ranks = (-(-counts // 8) * 8).byte()
    return *parameters_of(rows, rank=rank), ranks
