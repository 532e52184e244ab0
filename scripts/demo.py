"""A first look: sample capture, trained splats, report, a small asset and a video."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captures.sample import make_sample_capture

from . import STARTED_AT
from . import compress as compress_verb
from . import render as render_verb
from . import train as train_verb
from .common import Common, console


@dataclass(frozen=True, kw_only=True)
class Demo(Common):
    """Flags of `fieldwright demo`."""

    out: Path = Path("demo")
    """Folder for everything the demo makes."""
    max_seconds: float = 120.0
    """Seconds for the sample capture and the training together; report and video come on top."""
    overwrite: bool = False
    """Replace an earlier demo in `--out`."""


def run(config: Demo) -> dict[str, Any]:
    """Run all steps; returns the `--json` summary."""
    if config.out.exists() and any(config.out.iterdir()) and not config.overwrite:
        raise FileExistsError(f"{config.out} is not empty; choose another --out or --overwrite.")
    capture, run_folder = config.out / "capture", config.out / "run"
    video, asset = config.out / "orbit.mp4", config.out / "scene.fwa"
    console.print("1 of 4: the sample capture")
    make_sample_capture(
        capture, seed=config.seed, overwrite=config.overwrite, num_threads=config.num_threads
    )
    console.print("2 of 4: training splats and evaluating them")
    flags = ["splats", "--data", str(capture), "--out", str(run_folder)]
    # The clock of `train` started with this process, so what the capture took is added.
    budget = time.monotonic() - STARTED_AT + config.max_seconds
    flags += ["--max-seconds", str(budget), "--device", config.device]
    flags += ["--seed", str(config.seed)]
    if config.num_threads is not None:
        flags += ["--num-threads", str(config.num_threads)]
    if config.overwrite and (run_folder / "config.json").is_file():
        flags.append("--overwrite")
    summary = train_verb.run(train_verb.parse(flags))
    console.print("3 of 4: a small asset")
    small = compress_verb.run(
        compress_verb.Compress(
            source=run_folder,
            output=asset,
            device=config.device,
            seed=config.seed,
            num_threads=config.num_threads,
            overwrite=config.overwrite,
        )
    )
    console.print("4 of 4: a video around the scene")
    render_verb.run(
        render_verb.Render(
            scene=run_folder,
            out=video,
            device=config.device,
            seed=config.seed,
            num_threads=config.num_threads,
            overwrite=config.overwrite,
        )
    )
    scene = Path(summary["scene"]).with_suffix(".ply")
    console.print(f"Scene:  {scene} (opens in any splat viewer)")
    smaller = scene.stat().st_size / small["num_bytes"]
    console.print(f"Asset:  {asset} ({smaller:.0f} times smaller)")
    console.print(f"Report: {summary['report']}")
    console.print(f"Video:  {video}")
    console.print(f"Look at it in a browser: fieldwright view {run_folder}")
    return summary | {"capture": str(capture), "video": str(video), "asset": str(asset)}
