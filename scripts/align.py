"""Align a cloud or splat scene to another: any rotation, and the scale where asked for."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.table import Table

from registration import Cloud, Registration, as_cloud, register
from registration.manual import align_points
from registration.merging import merge, transformed
from registration.output import write_cloud, write_transform

from .common import Common, console, learned_colors


@dataclass(frozen=True, kw_only=True)
class Align(Common):
    """Flags of `fieldwright align`."""

    source: Annotated[Path, tyro.conf.Positional]
    """What moves: a splat file, a run folder, or a PLY, PCD, XYZ, NPY, LAS or mesh file."""
    target: Annotated[Path, tyro.conf.Positional]
    """What it shall lie on."""
    output: Annotated[Path, tyro.conf.Positional]
    """A .json file for the transform alone, or a file for the moved source, whose transform is then
    written beside it."""
    with_scale: bool = False
    """Estimate the scale too, as between splats trained apart."""
    photometric: bool = False
    """Refine the pose of splats by comparing their renders."""
    merge: bool = False
    """Write target and source as one, without what both show."""
    points: Path | None = None
    """JSON with pairs [[source point], [target point]], at least 3, to align by instead."""
    colors: Path | None = None
    """coloring.npz of `learn-colors`, to match neighborhoods by; None takes untrained colors."""
    overwrite: bool = False
    """Replace existing outputs."""


def run(config: Align) -> dict[str, Any]:
    """Align, write and report; returns the `--json` summary."""
    transform = config.output.with_suffix(".json")
    for path in {config.output, transform}:
        if path.exists() and not config.overwrite:
            raise FileExistsError(f"{path} exists; choose another name or --overwrite.")
    source, target = as_cloud(config.source), as_cloud(config.target, name="target")
    start = time.perf_counter()
    if config.points is not None:
        found = _by_points(config.points, with_scale=config.with_scale)
    else:
        colors = learned_colors(config.colors)
        found = register(source, target, with_scale=config.with_scale, colors=colors)
    if config.photometric and found.converged:
        found = _photometric(found, source, target, with_scale=config.with_scale)
    seconds = time.perf_counter() - start
    written = [transform]
    details = {"source": str(config.source), "target": str(config.target), "seconds": seconds}
    write_transform(found, transform, **details)
    if config.output != transform:
        if found.converged:
            whole = merge(source, target, found) if config.merge else transformed(source, found)
            write_cloud(whole, config.output, overwrite=config.overwrite)
            written.append(config.output)
        else:
            console.print(f"{config.output} was not written.")
    _print(found, seconds, written)
    return {
        "T_target_source": found.T_target_source.tolist(),
        "scale": found.scale,
        "aligned": found.converged,
        "inlier_ratio": found.inlier_ratio,
        "rmse": found.rmse,
        "seconds": seconds,
        "overlap": found.overlap,
        "reason": found.reason,
        "output": [str(path) for path in written],
    }


def _by_points(path: Path, *, with_scale: bool) -> Registration:
    """The pose of picked points."""
    try:
        pairs = np.array(json.loads(path.read_text(encoding="utf-8")), np.float64)
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"`--points` cannot be read from {path}: {error}.") from None
    if pairs.ndim != 3 or pairs.shape[1:] != (2, 3):
        raise ValueError(f"`--points` must hold pairs [[x, y, z], [x, y, z]], got {pairs.shape}.")
    found, rmse = align_points(pairs[:, 0], pairs[:, 1], with_scale=with_scale)
    return Registration(found.matrix().numpy(), found.scale, 1.0, rmse, 1.0, True)


def _photometric(
    found: Registration, source: Cloud, target: Cloud, *, with_scale: bool
) -> Registration:
    if source.gaussians is None or target.gaussians is None:
        raise ValueError("`--photometric` needs splats, but SOURCE or TARGET has points only.")
    from registration.photometric import refine_by_renders

    refined = refine_by_renders(found, source.gaussians, target.gaussians, with_scale=with_scale)
    before, after = refined.errors
    console.print(f"Renders differ {1 - after / max(before, 1e-12):.1%} less after refinement.")
    return refined.registration


def _print(found: Registration, seconds: float, written: list[Path]) -> None:
    verdict = "[green]aligned[/green]" if found.converged else "[red]not aligned[/red]"
    console.print(f"{verdict} in {seconds:.2f} s {found.reason}")
    table = Table(show_header=False, box=None)
    table.add_row("scale", f"{found.scale:.6g}")
    table.add_row("overlap", f"{found.overlap:.1%} of the source")
    table.add_row("on the surface", f"{found.inlier_ratio:.1%} of the shared points")
    table.add_row("rmse", f"{found.rmse:.4g} target units")
    for path in written:
        table.add_row("wrote", str(path))
    console.print(table)
