"""Scenes of any installed kind, opened by the kind that a file says it holds.

An asset names its kind, which is the name of an entry point in `fieldwright.scenes`; a file with
triangles is a mesh; a file that a format of splats fits is splats. Other files are offered to the
remaining kinds in turn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from captures import Renderable
from runs import SCENES, list_plugins, load_plugin
from splats.formats import find_format
from splats.scene import scene_file
from vq.asset import MAGIC, open_asset

from .meshes.scene import is_mesh_file

MESH, SPLATS = "mesh", "splats"


def scene_kind(file: Path) -> str | None:
    """Name of the kind of scene in a file; None where its content and name tell nothing."""
    if file.is_file():
        with file.open("rb") as opened:
            start = opened.read(len(MAGIC))
        if start == MAGIC:
            with open_asset(file, allow_prefix=True) as asset:  # whose opener may refuse it
                return asset.header.kind
    if is_mesh_file(file):
        return MESH
    try:
        find_format(file)
    except ValueError:
        return None
    return SPLATS


def open_scene(path: str | Path, *, device: torch.device | str = "cpu") -> Renderable:
    """The scene in a file, or that of a run folder.

    Raises:
        FileNotFoundError: Nothing there, or a run that has no scene yet.
        ValueError: A damaged file, or one of a kind that is not installed.
    """
    file = scene_file(Path(path))
    kind, installed = scene_kind(file), list_plugins(SCENES)
    if kind is not None and kind not in installed:
        raise ValueError(
            f"{file} holds {kind!r}, which no installed package opens; "
            f"kinds here: {', '.join(installed)}."
        )
    reasons: dict[str, Exception] = {}
    for name in installed if kind is None else (kind,):
        try:
            found: Any = load_plugin(SCENES, name)(file, device=device)
            return found
        except ValueError as error:
            if kind is not None:
                raise
            reasons[name] = error
    listed = "; ".join(f"{name}: {error}" for name, error in reasons.items())
    raise ValueError(f"{file} is no scene that an installed kind reads: {listed or 'none is'}.")
