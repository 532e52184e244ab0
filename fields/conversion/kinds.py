"""Which representation a file holds, and which one a name asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from captures import Renderable
from runs import SCENES, RunDirectory, list_plugins, load_plugin
from splats.scene import SplatScene
from vq.asset import MAGIC, open_asset

from ..meshes.files import WRITABLE
from ..meshes.scene import MeshScene, is_mesh_file

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
    file = scene_file(path)
    if is_mesh_file(file):
        return "mesh"
    if file.is_file():
        with file.open("rb") as opened:
            is_asset = opened.read(len(MAGIC)) == MAGIC
        if is_asset:
            with open_asset(file) as asset:
                return "splats" if asset.header.kind == "splats" else "field"
    return "splats"


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


def scene_file(path: Path) -> Path:
    """`path` itself, or the scene of the run in that folder."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected a scene file or a run folder.")
    if not (path / "config.json").is_file():
        return path
    found = RunDirectory.open(path).scene_file
    if found is None:
        raise FileNotFoundError(f"{path} has no scene file yet; go on with --resume.")
    return found


def open_scene(path: Path) -> Renderable:
    """The scene in a file, on the CPU, by the first installed kind that reads it.

    Raises:
        ValueError: None does.
    """
    file, reasons = scene_file(path), []
    for name in list_plugins(SCENES):
        try:
            found: Any = load_plugin(SCENES, name)(file, device="cpu")
            return found
        except (ValueError, ImportError) as error:
            reasons.append(f"{name}: {error}")
    raise ValueError(f"{file} is no scene that an installed kind reads: {'; '.join(reasons)}")


def kind_of_scene(scene: Renderable) -> Kind:
    """Splats and meshes by their class; all else is a field."""
    if isinstance(scene, SplatScene):
        return "splats"
    return "mesh" if isinstance(scene, MeshScene) else "field"
