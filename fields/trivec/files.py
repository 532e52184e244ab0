"""Tri-vector fields as assets of kind "trivec".

Arrays: `cells` [N, 3] and `levels` [N] of the octree, `masks` [N] as two int32 halves, `ranks` [N],
`vectors` [N, 3, D, R], `densities` [N, R] and `colors` [N, K, 3, R], all as `TrivecField` has them:
nodes lie on both faces of a leaf. The header's frame holds the root's cube and the similarity from
the field's axes to the scene's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from captures import Similarity
from runs import RunDirectory
from vq.asset import Asset, AssetWriter, open_asset

from ..scene import FieldScene
from .field import TrivecField
from .octree import Octree
from .renderer import TrivecRenderer

KIND = "trivec"
_EXACT = ("vectors", "densities", "colors")


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
    writer = asset_writer(field, T_source_field or Similarity())
    for name in _EXACT:
        values = getattr(field, name).detach().cpu().numpy()
        if not np.isfinite(values).all():
            raise ValueError(f"`{name}` holds NaN or infinity; such a field cannot be written.")
        writer.array(name, writer.encode(name, np.ascontiguousarray(values), "planes"))
    return writer.write(path, overwrite=overwrite)


def asset_writer(field: TrivecField, T_source_field: Similarity) -> AssetWriter:
    """A file with everything but the parameters."""
    tree = field.octree
    writer = AssetWriter(
        KIND,
        frame={
            "low": tree.low.tolist(),
            "side": tree.side,
            "unit": field.unit,
            "T_source_field": {
                "scale": T_source_field.scale,
                "rotation": T_source_field.rotation.tolist(),
                "translation": T_source_field.translation.tolist(),
            },
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
        "masks": field.masks.numpy().view(np.int32).reshape(-1, 2),
        "ranks": field.ranks.numpy(),
    }
    for name, values in integers.items():
        writer.array(name, writer.encode(name, np.ascontiguousarray(values), "adaptive"))
    return writer


def load_scene(path: str | Path, *, device: torch.device | str = "cpu") -> FieldScene:
    """The scene in an asset file, or that of a run directory.

    Raises:
        FileNotFoundError: Nothing there, or a run that has no scene yet.
        ValueError: No asset of this kind, or a damaged one.
    """
    path = Path(path)
    file = path
    if path.is_dir():
        found = RunDirectory.open(path).scene_file
        if found is None:
            raise FileNotFoundError(f"{path} has no scene file yet; go on with --resume.")
        file = found
    field, similarity = load_trivec(file)
    renderer = TrivecRenderer(field.to(device))
    return FieldScene(renderer, device=device, T_scene_field=similarity, path=file)


def load_trivec(path: Path) -> tuple[TrivecField, Similarity]:
    """The field in a file and the similarity from its frame to the scene's.

    Raises:
        ValueError: No asset of this kind, or a damaged one.
    """
    with open_asset(path) as asset:
        if asset.header.kind != KIND:
            raise ValueError(f"{path} holds {asset.header.kind!r}, expected {KIND!r}.")
        try:
            return _field(asset), _similarity(asset.header.frame["T_source_field"])
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"{path} lacks what a tri-vector field needs: {error}.") from None


def _field(asset: Asset) -> TrivecField:
    frame, properties = asset.header.frame, asset.header.properties
    arrays = {name: torch.from_numpy(values) for name, values in asset.arrays().items()}
    for name in _EXACT:
        if not bool(torch.isfinite(arrays[name]).all()):
            raise ValueError(f"`{name}` holds numbers that are not finite.")
    tree = Octree(
        torch.tensor(frame["low"], dtype=torch.float32),
        float(frame["side"]),
        arrays["levels"].long(),
        arrays["cells"].long(),
    )
    _ = tree.children  # refuses overlapping leaves
    masks = arrays["masks"].contiguous().view(torch.int64).flatten()
    return TrivecField(
        tree,
        arrays["vectors"],
        arrays["densities"],
        arrays["colors"],
        masks,
        arrays["ranks"],
        unit=float(frame["unit"]),
        shift=float(properties["shift"]),
    )


def _similarity(values: dict[str, Any]) -> Similarity:
    rotation = torch.tensor(values["rotation"], dtype=torch.float64)
    translation = torch.tensor(values["translation"], dtype=torch.float64)
    if rotation.shape != (3, 3) or translation.shape != (3,):
        raise ValueError("`T_source_field` must hold a 3 x 3 rotation and 3 numbers.")
    return Similarity(float(values["scale"]), rotation, translation)
