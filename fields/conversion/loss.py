"""What a converted file lost: pictures, silhouettes and depths against its source's.

Run as a module it renders a file for the process that asks, so that what is judged is the file.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from captures import Cameras, Renderable
from splats.formats.rendered import pictures_psnr

from .kinds import open_scene

_SOLID = 0.5


@dataclass(frozen=True, eq=False)
class Pictures:
    """Renders of a scene from V cameras, over black."""

    colors: Float[Tensor, "V H W 3"]
    """In [0, 1]."""
    alphas: Float[Tensor, "V H W 1"]
    """In [0, 1]."""
    depths: Float[Tensor, "V H W 1"]
    """Expected z-depth, world units."""


@dataclass(frozen=True)
class Loss:
    """Of a conversion, on cameras that it did not use."""

    psnr: float
    """Of the pictures, decibels."""
    silhouette: float
    """Intersection over union of what is more than half opaque; 1 where both show nothing."""
    depth_error: float | None
    """Median relative difference of depth where both are solid; None where they never are."""
    decode_seconds: float
    """Time in which a fresh process read the file."""


def render_pictures(scene: Renderable, cameras: Cameras) -> Pictures:
    """Pictures one camera at a time."""
    found = [scene.render(cameras[[index]]) for index in range(len(cameras))]
    return Pictures(
        torch.cat([output.channel("rgb").cpu() for output in found]).clamp(0, 1),
        torch.cat([output.channel("alpha").cpu() for output in found]),
        torch.cat([output.channel("depth").cpu() for output in found]),
    )


def measure(before: Pictures, path: Path, cameras: Cameras) -> tuple[Loss, Pictures]:
    """Render `path` in a fresh process and compare with its source.

    Raises:
        RuntimeError: The file cannot be read there; the message ends with why.
    """
    after, seconds = _rendered(path, cameras)
    first, second = (pictures.alphas > _SOLID for pictures in (before, after))
    union = int((first | second).sum())
    both = first & second
    error = None
    if bool(both.any()):
        difference = (before.depths - after.depths).abs() / before.depths.clamp(min=1e-12)
        error = float(difference[both].median())
    return Loss(
        psnr=pictures_psnr(before.colors, after.colors),
        silhouette=int(both.sum()) / union if union else 1.0,
        depth_error=error,
        decode_seconds=seconds,
    ), after


def _rendered(path: Path, cameras: Cameras) -> tuple[Pictures, float]:
    with tempfile.TemporaryDirectory() as folder:
        task, result = Path(folder) / "task.npz", Path(folder) / "result.npz"
        size = np.array([cameras.width, cameras.height])
        np.savez(task, viewmats=cameras.viewmats.numpy(), Ks=cameras.Ks.numpy(), size=size)
        root = str(Path(__file__).resolve().parents[2])
        search = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        done = subprocess.run(
            [sys.executable, "-m", "fields.conversion.loss", str(path), str(task), str(result)],
            env={**os.environ, "PYTHONPATH": search},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            reason = done.stderr.strip().splitlines()[-1:] or ["no message"]
            raise RuntimeError(f"a fresh process cannot read {path}: {reason[0]}")
        with np.load(result) as values:
            parts = (torch.from_numpy(values[name]) for name in ("colors", "alphas", "depths"))
            return Pictures(*parts), float(values["seconds"])


def _main(arguments: Sequence[str]) -> None:
    path, task, result = arguments
    with np.load(task) as values:
        width, height = (int(size) for size in values["size"])
        viewmats, Ks = torch.from_numpy(values["viewmats"]), torch.from_numpy(values["Ks"])
    start = time.perf_counter()
    scene = open_scene(Path(path))
    seconds = time.perf_counter() - start
    seen = render_pictures(scene, Cameras(viewmats, Ks, width, height))
    np.savez(
        result,
        colors=seen.colors.numpy(),
        alphas=seen.alphas.numpy(),
        depths=seen.depths.numpy(),
        seconds=seconds,
    )


if __name__ == "__main__":
    _main(sys.argv[1:])
