"""A shape as something to look at: a latent decodes to a mesh, and meshes render."""

from __future__ import annotations

from pathlib import Path

import torch

from vq.asset import AssetError, open_asset

from ..meshes import Mesh, MeshScene
from .latent_file import KIND, load_latent
from .mesh import TriangleMesh
from .models.coding import decode
from .models.weights import load_model


def scene_of(mesh: TriangleMesh, *, path: Path | None = None) -> MeshScene:
    """A mesh as a `captures.Renderable`; `num_bytes` is that of the file it came from."""
    return MeshScene(Mesh(mesh.vertices, mesh.faces), path=path)


def load_scene(path: str | Path, *, device: torch.device | str = "cpu") -> MeshScene:
    """The latent of a shape in an asset, decoded with the shipped model.

    Raises:
        ValueError: Not the latent of a shape, or one of another model.
    """
    path = Path(path)
    if path.suffix.lower() != ".fwa" or not path.is_file():
        raise ValueError(f"{path} is no latent of a shape (.fwa).")
    try:
        with open_asset(path) as asset:
            kind = asset.header.kind
    except AssetError as error:
        raise ValueError(str(error)) from error
    if kind != KIND:
        raise ValueError(f"{path} holds {kind!r}, not the latent of a shape.")
    loaded = load_model(device=torch.device(device))
    stored = load_latent(path, loaded.model, digest=loaded.digest)
    return scene_of(decode(loaded.model, stored.latent), path=path)
