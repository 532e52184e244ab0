"""Which representation a file holds, and which one a name asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from captures import Renderable
from splats.scene import SplatScene, scene_file

from ..meshes.files import WRITABLE
from ..meshes.scene import MeshScene
from ..scene_files import scene_kind

Kind = Literal["splats", "mesh", "field"]

KINDS: tuple[Kind, ...] = ("splats", "mesh", "field")
"""Representations that turn into each other."""

_ONLY_MESHES = (".obj", ".stl", ".off")
_FIELDS = (".trivec.fwa", ".field.fwa", "field.fwa", "trivec.fwa")


def kind_of_file(path: Path) -> Kind:
    """What a file or run folder holds.

    Raises:
        FileNotFoundError: There is nothing, or a run without a scene.
        ValueError: An asset of another kind, such as a shape.
    """
    kind = scene_kind(scene_file(path))
    if kind in (None, "splats", "c3dgs"):
        return "splats"
    return "mesh" if kind in ("mesh", "shape") else "field"


def kind_of_target(path: Path, to: str | None) -> Kind:
    """What a file shall hold: as `to` says, else as its name does.

    `--to` names a kind or a format of splats. Without it, .obj, .stl and .off are meshes, and so
    are names that end with mesh.glb or mesh.ply; field.fwa and trivec.fwa are fields; all else is
    splats.
    """
    for kind in KINDS:
        if to == kind:
            return kind
    name = path.name.lower()
    if to is None and (name.endswith(_ONLY_MESHES) or name.endswith(("mesh.glb", "mesh.ply"))):
        return "mesh"
    if to is None and name.endswith(_FIELDS):
        return "field"
    return "splats"


def require_writable(path: Path, kind: Kind) -> None:
    """Raise ValueError unless a file of this name can hold the kind."""
    endings = {"mesh": WRITABLE, "field": (".fwa",)}.get(kind, ())
    if endings and path.suffix.lower() not in endings:
        raise ValueError(f"`output`: a {kind} is written as {', '.join(endings)}, got {path.name}.")


def kind_of_scene(scene: Renderable) -> Kind:
    """Splats and meshes by their class; all else is a field."""
    if isinstance(scene, SplatScene):
        return "splats"
    return "mesh" if isinstance(scene, MeshScene) else "field"
