"""Say what is inside a scene file, a run folder or a capture folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.markup import escape
from rich.table import Table

from captures import load_capture
from fields.meshes import load_mesh
from fields.meshes.scene import is_mesh_file
from runs import RunDirectory
from splats.formats import find_format, name_of, summarize
from splats.formats.conversion import size_of
from vq.asset import MAGIC, open_asset

from .common import Common, console


@dataclass(frozen=True, kw_only=True)
class Info(Common):
    """Flags of `fieldwright info`."""

    path: Annotated[Path, tyro.conf.Positional]
    """A scene file, a run folder or a capture folder."""


def run(config: Info) -> dict[str, Any]:
    """Print a table of the content; returns the `--json` summary."""
    path = config.path
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected a file, a run or a capture.")
    if (path / "config.json").is_file():
        summary = _run(path)
    elif path.is_file() or _is_scene_folder(path):
        summary = _file(path)
    else:
        summary = _capture(path)
    table = Table(show_header=False, box=None, title=str(path), title_justify="left")
    for name, value in summary.items():
        if name != "sections":
            is_count = isinstance(value, int) and not isinstance(value, bool)
            table.add_row(name, f"{value:,}" if is_count else escape(str(value)))
    console.print(table)
    if summary["sections"]:
        sizes = Table("section", "bytes", "share", box=None)
        total = max(1, sum(summary["sections"].values()))
        for name, size in summary["sections"].items():
            sizes.add_row(name, f"{size:,}", f"{size / total:.1%}")
        console.print(sizes)
    return summary


def _is_scene_folder(path: Path) -> bool:
    """True for a folder that some format keeps a scene in, such as an unbundled SOG."""
    try:
        find_format(path)
    except ValueError:
        return False
    return True


def _file(path: Path) -> dict[str, Any]:
    if (asset := _other_asset(path)) is not None:
        return asset
    if is_mesh_file(path):
        return _mesh(path)
    content = summarize(path)
    summary = {
        "kind": "splats",
        "num_primitives": content.num_primitives,
        "num_bytes": size_of(path),
        "sections": dict(content.sections),
        "frame": content.frame,
        "sh_degree": content.sh_degree,
        "antialiased": content.antialiased,
        "model": content.model,
        "format": name_of(find_format(path)),
    }
    return summary | {key: text for key, text in content.details.items() if key not in summary}


def _mesh(path: Path) -> dict[str, Any]:
    mesh = load_mesh(path)
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    texture = mesh.texture
    return {
        "kind": "mesh",
        "num_primitives": len(mesh.faces),
        "num_bytes": size_of(path),
        "sections": {},
        "frame": "source",
        "num_vertices": len(mesh.vertices),
        "bounds": f"{low.tolist()} to {high.tolist()}",
        "colors": "none" if mesh.colors is None else "of vertices",
        "texture": "none" if texture is None else f"{texture.shape[1]} x {texture.shape[0]}",
    }


def _other_asset(path: Path) -> dict[str, Any] | None:
    """What an asset of any kind but splats says of itself; None for other files."""
    if path.is_dir() or _start(path, len(MAGIC)) != MAGIC:
        return None
    with open_asset(path) as asset:
        header = asset.header
        if header.kind == "splats":
            return None
        facts = {**header.properties, **header.provenance}
        arrays = {info.name: f"{info.type} {info.graph}" for info in asset.describe()}
        summary = {
            "kind": header.kind,
            "num_primitives": int(facts.get("num_primitives", facts.get("floats", len(arrays)))),
            "num_bytes": asset.num_bytes,
            "sections": dict(asset.sizes),
            "frame": str(header.frame.get("axes", "source")),
            "format": "fwa",
        }
        return summary | {k: str(v) for k, v in {**facts, **arrays}.items() if k not in summary}


def _start(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def _run(path: Path) -> dict[str, Any]:
    directory = RunDirectory.open(path)
    scene = directory.scene_file
    content = None if scene is None else _file(scene)
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    sections: dict[str, int] = {}
    for file in files:
        name = file.relative_to(path).parts[0]
        sections[name] = sections.get(name, 0) + file.stat().st_size
    return {
        "kind": "run",
        "num_primitives": 0 if content is None else content["num_primitives"],
        "num_bytes": sum(sections.values()),
        "sections": sections,
        "frame": "none yet" if content is None else content["frame"],
        "method": directory.method,
        "scene": None if scene is None else str(scene),
    }


def _capture(path: Path) -> dict[str, Any]:
    capture = load_capture(path)
    points = 0 if capture.points is None else len(capture.points.positions)
    return {
        "kind": "capture",
        "num_primitives": points,
        "num_bytes": sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        "sections": {},
        "frame": "source",
        "num_images": len(capture),
        "size": f"{capture.cameras.width} x {capture.cameras.height}",
        "num_train": len(capture.train),
        "num_test": len(capture.test),
        "split": capture.split,
        "resolution": capture.resolution,
    }
