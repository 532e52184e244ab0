"""Many scans into one frame: pairwise registration, cycle checks, averaging; a merged cloud."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .common import Common, console, learned_colors

if TYPE_CHECKING:
    from registration import MultiRegistration

_PALETTE = np.array(
    [[66, 133, 244], [234, 67, 53], [251, 188, 5], [52, 168, 83], [171, 71, 188], [0, 172, 193]],
    np.uint8,
)
"""Colors by which scans without colors of their own are told apart."""


@dataclass(frozen=True, kw_only=True)
class RegisterConfig(Common):
    """Align a set of scans without initial poses; write the merged cloud and the poses."""

    paths: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SCAN... OUT.ply")
    ]
    """Two or more scans (PLY, PCD, XYZ, LAS, NPY, meshes, splats), then the file to write."""
    with_scale: bool = False
    """Estimate a scale for each scan as well."""
    colors: Path | None = None
    """coloring.npz of `learn-colors`, to match neighborhoods by; None takes untrained colors."""
    voxel: float | None = None
    """Keep one point per cube of this side in the merged cloud; None keeps all."""
    overwrite: bool = False
    """Replace OUT.ply and OUT.json if they exist."""


def run(config: RegisterConfig) -> dict[str, Any]:
    """Register, write OUT.ply and OUT.json; returns the `--json` summary."""
    from registration import register_many
    from registration.clouds import as_cloud  # pyright: ignore[reportMissingImports]
    from runs.files import write_json

    if len(config.paths) < 3:
        raise ValueError(
            f"expected two scans or more and the file to write, got {len(config.paths)} paths; "
            "usage: fieldwright register SCAN... OUT.ply"
        )
    *scans, out = config.paths
    poses_file = out.with_suffix(".json")
    _check_outputs(out, poses_file, config)
    clouds = [as_cloud(path) for path in scans]
    colors = learned_colors(config.colors)
    columns = (TextColumn("Pairs"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("pairs", total=None)
        found = register_many(
            clouds,
            with_scale=config.with_scale,
            colors=colors,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    summary = _summary(scans, found)
    _report(scans, found)
    write_json(poses_file, summary)
    summary["output"] = None
    if found.aligned.any():
        _write(clouds, found, out, config)
        summary["output"] = str(out)
        console.print(f"Wrote {out} and {poses_file}")
    else:
        console.print(f"No two scans could be aligned; wrote {poses_file} only.")
    return summary | {"poses": str(poses_file)}


def _check_outputs(out: Path, poses_file: Path, config: RegisterConfig) -> None:
    if out.suffix.lower() != ".ply":
        raise ValueError(f"OUT must end with .ply (a merged cloud), got {out.name}.")
    for path in (out, poses_file):
        if path.exists() and not config.overwrite:
            raise FileExistsError(
                f"{path} exists already; choose another file or pass --overwrite."
            )


def _summary(scans: list[Path], found: MultiRegistration) -> dict[str, Any]:
    matrices = {
        str(path): found.T_world_scan[n].tolist() if found.aligned[n] else None
        for n, path in enumerate(scans)
    }
    closing = np.degrees(found.cycles.errors)
    return {
        "T_world_scan": matrices,
        "aligned": found.converged,
        "num_aligned": int(found.aligned.sum()),
        "num_pairs": len(found.pairs),
        "num_used": sum(pair.used for pair in found.pairs),
        "num_unverified": sum(pair.used and not pair.verified for pair in found.pairs),
        "num_cycles": len(closing),
        "median_cycle_error_deg": float(np.median(closing)) if len(closing) else None,
    }


def _report(scans: list[Path], found: MultiRegistration) -> None:
    for path, aligned in zip(scans, found.aligned, strict=True):
        console.print(f"{'aligned    ' if aligned else 'NOT aligned'}  {path}")
    used = sum(pair.used for pair in found.pairs)
    dropped = [p for p in found.pairs if p.registration.converged and not p.used]
    loose = [p for p in found.pairs if p.used and not p.verified]
    console.print(f"{used} of {len(found.pairs)} pairs hold the set together.")
    for pair in dropped:
        console.print(
            f"Left out: {scans[pair.source].name} to {scans[pair.target].name}, which the other "
            "pairs contradict."
        )
    for pair in loose:
        console.print(
            f"Unconfirmed: {scans[pair.source].name} to {scans[pair.target].name} is on no cycle; "
            "look at it."
        )


def _write(clouds: list[Any], found: MultiRegistration, out: Path, config: RegisterConfig) -> None:
    from registration.merged_cloud import thin, write_cloud

    parts, colors = [], []
    for number in np.flatnonzero(found.aligned).tolist():
        cloud, pose = clouds[number], found.T_world_scan[number]
        parts.append(cloud.points @ pose[:3, :3].T + pose[:3, 3])
        plain = np.broadcast_to(_PALETTE[number % len(_PALETTE)], (len(cloud), 3))
        own = cloud.colors
        colors.append(plain if own is None else np.rint(own * 255).astype(np.uint8))
    if config.voxel is not None:
        points, chosen = thin(np.concatenate(parts), config.voxel)
        parts, colors = [points], [np.concatenate(colors)[chosen]]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_cloud(out, parts, colors, overwrite=config.overwrite)
