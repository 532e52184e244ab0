"""Pictures of a written file, taken by a fresh process: `python -m splats.formats.rendered`.

What a converted file looks like is judged as its users will meet it: read from the disk by a
process that knows nothing of its making.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from captures import Cameras

from ..scene import SplatScene

MAX_PSNR = 100.0
"""Decibels reported for pictures that are equal or differ by less."""


@dataclass(frozen=True)
class Pictures:
    """What a fresh process saw."""

    images: Float[Tensor, "V H W 3"]
    """In [0, 1], over black."""
    decode_seconds: float
    """Time to read the file into memory."""


def render_pictures(scene: SplatScene, cameras: Cameras) -> Float[Tensor, "V H W 3"]:
    """Pictures in [0, 1] over black, one camera at a time."""
    images = [
        scene.render(cameras[[index]], channels=("rgb",)).rgb for index in range(len(cameras))
    ]
    return torch.cat([image for image in images if image is not None]).clamp(0, 1).cpu()


def render_in_fresh_process(path: Path, cameras: Cameras, *, format_name: str) -> Pictures:
    """Read `path` and render it from `cameras` in a new Python process.

    Args:
        path: A splat file or folder.
        cameras: In the axes `HOUSE_FRAME`.
        format_name: As in `formats()`.

    Raises:
        RuntimeError: The process failed; the message ends with what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        task, result = Path(folder) / "task.npz", Path(folder) / "result.npz"
        np.savez(
            task,
            viewmats=cameras.viewmats.numpy(),
            Ks=cameras.Ks.numpy(),
            size=np.array([cameras.width, cameras.height]),
        )
        command = [sys.executable, "-m", "splats.formats.rendered"]
        command += [str(path.resolve()), format_name, str(task), str(result)]
        root = str(Path(__file__).resolve().parents[2])
        search = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": search},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            reason = done.stderr.strip().splitlines()[-1:] or ["no message"]
            raise RuntimeError(f"a fresh process cannot read {path}: {reason[0]}")
        with np.load(result) as values:
            return Pictures(torch.from_numpy(values["images"]), float(values["decode_seconds"]))


def pictures_psnr(first: Float[Tensor, "V H W 3"], second: Float[Tensor, "V H W 3"]) -> float:
    """PSNR of the error over all pictures together, decibels, at most `MAX_PSNR`."""
    error = float((first.double() - second.double()).square().mean())
    return MAX_PSNR if error == 0 else min(MAX_PSNR, -10 * math.log10(error))


def _main(arguments: list[str]) -> None:
    from . import collect, find_format, in_frame

    path, format_name, task, result = arguments
    with np.load(task) as values:
        width, height = (int(size) for size in values["size"])
        cameras = Cameras(
            torch.from_numpy(values["viewmats"]), torch.from_numpy(values["Ks"]), width, height
        )
    start = time.perf_counter()
    source = find_format(Path(path), name=format_name).open(Path(path))
    gaussians = collect(in_frame(source))
    seconds = time.perf_counter() - start
    images = render_pictures(SplatScene(gaussians, source.antialiased), cameras)
    np.savez(result, images=images.numpy(), decode_seconds=seconds)


if __name__ == "__main__":
    _main(sys.argv[1:])
