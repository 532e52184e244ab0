"""Nerfacto fields as assets of kind "nerfacto".

Arrays: every parameter by its name, hash grids in half precision, the rest in single. The header's
properties hold the sizes that the networks are built from, its frame the similarity from the
field's axes to the scene's.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import torch

from captures import Similarity
from splats.scene import scene_file
from vq.asset import AssetWriter, open_asset

from ..finite import finite_array
from ..scene import FieldScene
from .config import NerfactoConfig
from .model import Nerfacto

KIND = "nerfacto"
_LARGEST = 1 << 26
"""Most numbers in one array of a file that is believed."""


def save_nerfacto(
    model: Nerfacto,
    path: Path,
    *,
    T_source_field: Similarity | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a model.

    Raises:
        FileExistsError: `path` exists and `overwrite` is False.
        ValueError: A parameter is not finite.
    """
    moved = T_source_field or Similarity()
    sizes = asdict(model.config)
    writer = AssetWriter(
        KIND,
        frame={"T_source_field": moved.to_json()},
        properties={
            "num_primitives": model.num_primitives,
            "num_images": model.num_images,
            "opaque": model.opaque,
            "config": {key: _plain(value) for key, value in sizes.items()},
        },
        provenance={"program": "fieldwright"},
    )
    for name, values in model.state_dict().items():
        array = finite_array(name, values)
        stored = array.astype(np.float16) if name.endswith("grid.table") else array
        writer.array(name, writer.encode(name, stored, "planes"))
    return writer.write(path, overwrite=overwrite)


def load_nerfacto(path: Path) -> tuple[Nerfacto, Similarity]:
    """The model in a file and the similarity from its frame to the scene's.

    Raises:
        ValueError: No asset of this kind, or a damaged one.
    """
    with open_asset(path) as asset:
        header = asset.header
        if header.kind != KIND:
            raise ValueError(f"{path} holds {header.kind!r}, expected {KIND!r}.")
        try:
            config = _config(header.properties["config"])
            images = int(header.properties["num_images"])
            largest = max(
                [images * max(1, config.appearance), *map(_count, header.arrays.values())]
            )
            if largest > _LARGEST:
                raise ValueError(f"an array of {largest} numbers is more than a field may have")
            model = Nerfacto(config, images, opaque=bool(header.properties["opaque"]))
            arrays = {k: torch.from_numpy(v.astype(np.float32)) for k, v in asset.arrays().items()}
            model.load_state_dict(arrays)
            similarity = Similarity.from_json(header.frame["T_source_field"])
        except (KeyError, TypeError, IndexError, AttributeError, RuntimeError, ValueError) as error:
            raise ValueError(f"{path} lacks what a nerfacto field needs: {error}.") from None
    for name, values in model.state_dict().items():
        if not bool(torch.isfinite(values).all()):
            raise ValueError(f"{path}: `{name}` holds numbers that are not finite.")
    return model.requires_grad_(False), similarity


def load_scene(path: str | Path, *, device: torch.device | str = "cpu") -> FieldScene:
    """The scene in an asset file, or that of a run directory.

    Raises:
        FileNotFoundError: Nothing there, or a run that has no scene yet.
        ValueError: No asset of this kind, or a damaged one.
    """
    file = scene_file(Path(path))
    model, similarity = load_nerfacto(file)
    return FieldScene(model.to(device), device=device, T_scene_field=similarity, path=file)


def _count(node: object) -> int:
    shape = getattr(getattr(node, "type", None), "shape", ())
    return int(np.prod(shape, dtype=np.float64))


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _config(values: dict[str, object]) -> NerfactoConfig:
    known = {item.name for item in fields(NerfactoConfig)}
    chosen = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known}
    return NerfactoConfig(**chosen)  # pyright: ignore[reportArgumentType]
