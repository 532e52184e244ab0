"""Write a splat scene or a field as a small asset and measure what that costs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.table import Table

from captures import Capture, load_capture, psnr
from captures.evaluation import BACKGROUNDS, choose_background, evaluate, to_8_bit
from fields.compression import Task
from fields.conversion.viewpoints import viewpoints
from fields.scene_files import open_scene, scene_kind
from runs import COMPRESSORS, list_plugins, load_plugin
from splats.compact.compress import DEFAULT_LOSS, Compressor, Goal
from splats.compact.judge import Judge, close_cameras, judge_without_photos, photo_error
from splats.compact.refine import REFINE_STEPS, Refinement, refine
from splats.formats import (
    Source,
    collect,
    find_format,
    in_frame,
    load,
    open_source,
    refuse_existing,
)
from splats.formats.conversion import size_of
from splats.formats.rendered import pictures_psnr, render_in_fresh_process, render_pictures
from splats.gaussians import Gaussians
from splats.scene import SplatScene, scene_file

from .common import Common, console

_VIEWS, _WIDTH, _HEIGHT = 6, 480, 360


@dataclass(frozen=True, kw_only=True)
class Compress(Common):
    """Flags of `fieldwright compress`."""

    source: Annotated[Path, tyro.conf.Positional]
    """A splat file or folder of any format, an asset of a field, or a run folder."""
    output: Annotated[Path, tyro.conf.Positional]
    """The asset to write, ending in .fwa."""
    target_size: int | None = None
    """Most bytes of the file; at least 98 % of them are used if the scene has so much to say."""
    quality: float | None = None
    """Decibels of PSNR that may be lost against photos. Without --data the scene is taken to match
    its photos at 30 dB. 0.1 where neither is given."""
    data: Path | None = None
    """Folder of the scene's capture: its cameras judge, and the scene is fitted to its photos again
    while it is rounded."""
    downscale: float | None = None
    """Reduce the photos of --data by this factor."""
    refine_steps: int = REFINE_STEPS
    """Training steps on the photos of --data; 0 only looks through its cameras."""
    fast: bool | None = None
    """Code without contexts: larger, several times as quick; None does so above 250,000 Gaussians.
    """
    layers: int = 2
    """In how many parts the Gaussians come, the most telling first, 1 to 8. The first is within a
    tenth of the file and shows all of the scene; more parts take a few percent more."""
    overwrite: bool = False
    """Replace an existing output."""


def run(config: Compress) -> dict[str, Any]:
    """Compress, print the report; returns the `--json` summary."""
    if config.output.suffix.lower() != ".fwa":
        raise ValueError(
            f"`OUTPUT` must end in .fwa, got {config.output}; `convert` writes others."
        )
    if config.refine_steps < 0:
        raise ValueError(f"`--refine-steps` must not be negative, got {config.refine_steps}.")
    goal = Goal(config.target_size, config.quality, config.fast, config.layers)
    refuse_existing(config.output, overwrite=config.overwrite)
    path = scene_file(config.source) if (config.source / "config.json").is_file() else config.source
    kind = scene_kind(path)
    if kind in list_plugins(COMPRESSORS):
        return _compress_field(config, path, kind)
    source = open_source(path)
    gaussians = collect(in_frame(source))
    if len(gaussians) == 0:
        raise ValueError(f"{path} holds no Gaussians; expected at least one.")
    capture = None
    if config.data is not None:
        capture = load_capture(config.data, downscale=config.downscale)
    start = time.perf_counter()
    _write(gaussians, source, capture, goal, config)
    seconds = time.perf_counter() - start
    return _report(config, path, SplatScene(gaussians, source.antialiased), capture, seconds)


def _compress_field(config: Compress, path: Path, kind: str) -> dict[str, Any]:
    """Hand a field to the compressor of its kind, and look at the file through the same cameras."""
    if config.target_size is None or config.quality is not None:
        raise ValueError(f"a {kind} field is written to a size; give --target-size BYTES.")
    capture = None
    if config.data is not None:
        capture = load_capture(config.data, downscale=config.downscale)
    steps = config.refine_steps if capture is not None else 0
    task = Task(path, config.output, config.target_size, capture, steps, config.seed)
    start = time.perf_counter()
    load_plugin(COMPRESSORS, kind)(task)
    seconds = time.perf_counter() - start
    before = open_scene(path)
    start = time.perf_counter()
    after = open_scene(config.output)
    decode_seconds = time.perf_counter() - start
    cameras = viewpoints(before, None, count=_VIEWS, width=_WIDTH, height=_HEIGHT)
    pictures = [
        scene.render(cameras, channels=("rgb",)).channel("rgb") for scene in (before, after)
    ]
    summary: dict[str, Any] = {
        "num_bytes": config.output.stat().st_size,
        "source_bytes": size_of(path),
        "num_primitives": getattr(after, "num_primitives", None),
        "source_primitives": getattr(before, "num_primitives", None),
        "render_psnr": float(psnr(to_8_bit(pictures[1]), to_8_bit(pictures[0])).mean()),
        "encode_seconds": seconds,
        "decode_seconds": decode_seconds,
        "output": str(config.output),
        "psnr_before": None,
        "psnr": None,
    }
    if capture is not None and capture.test:
        background = torch.tensor(BACKGROUNDS[choose_background(capture, None)])
        for key, shown in (("psnr_before", before), ("psnr", after)):
            summary[key] = evaluate(shown, capture, background=background).psnr
    _print_summary(summary, {})
    return summary


def _print_summary(summary: dict[str, Any], counts: dict[str, str]) -> None:
    """Sizes, then `counts` of what the scene is made of, quality and times."""
    table = Table(show_header=False, box=None, title=summary["output"], title_justify="left")
    before, after = summary["source_bytes"], summary["num_bytes"]
    table.add_row("bytes", f"{after:,} of {before:,} before, {before / after:.1f}x smaller")
    for name, text in counts.items():
        table.add_row(name, text)
    table.add_row("pictures", f"{summary['render_psnr']:.2f} dB PSNR against the source")
    if summary["psnr"] is not None:
        change = summary["psnr"] - summary["psnr_before"]
        table.add_row("held-out photos", f"{summary['psnr']:.2f} dB, {change:+.2f} dB")
    table.add_row("written in", f"{summary['encode_seconds']:.2f} s")
    table.add_row("read in", f"{summary['decode_seconds']:.2f} s")
    console.print(table)


def _write(
    gaussians: Gaussians, source: Source, capture: Capture | None, goal: Goal, config: Compress
) -> None:
    """The asset, by whichever way `--data` and `--refine-steps` ask for."""
    scene = SplatScene(gaussians, source.antialiased)
    if capture is None:
        Compressor(judge_without_photos(scene), source.antialiased, source.model).write(
            config.output, goal
        )
    elif config.refine_steps:
        console.print(f"Fitting to {len(capture.train)} photos again ...")
        method = refine(
            gaussians,
            capture,
            goal,
            antialiased=source.antialiased,
            refinement=Refinement(config.refine_steps, config.seed),
        )
        method.save_scene(config.output)
    else:
        cameras = capture.T_source_capture.apply_to_cameras(capture.cameras)
        stride = max(1, len(capture.train) // _VIEWS)
        judged = list(capture.train[::stride])
        Compressor(
            Judge(scene, cameras[judged], weighed=cameras[list(capture.train)]),
            source.antialiased,
            source.model,
            photo_error(scene, capture, judged, cameras),
        ).write(config.output, goal)


def _report(
    config: Compress, path: Path, scene: SplatScene, capture: Capture | None, seconds: float
) -> dict[str, Any]:
    """What a fresh process sees of the file, beside the source."""
    cameras = close_cameras(scene)
    after = render_in_fresh_process(config.output, cameras, format_name="fwa")
    num_bytes, count = config.output.stat().st_size, _count(config.output)
    summary: dict[str, Any] = {
        "num_bytes": num_bytes,
        "source_bytes": size_of(path),
        "num_primitives": count,
        "render_psnr": pictures_psnr(render_pictures(scene, cameras), after.images),
        "encode_seconds": seconds,
        "decode_seconds": after.decode_seconds,
        "output": str(config.output),
        "source_primitives": len(scene.gaussians),
        "bits_per_gaussian": 8 * num_bytes / len(scene.gaussians),
        "psnr_before": None,
        "psnr": None,
    }
    if capture is not None and capture.test:
        background = torch.tensor(BACKGROUNDS[choose_background(capture, None)])
        written = SplatScene(load(config.output), scene.antialiased)
        for key, shown in (("psnr_before", scene), ("psnr", written)):
            summary[key] = evaluate(shown, capture, background=background).psnr
    _print(summary, config)
    return summary


def _count(path: Path) -> int:
    return find_format(path).open(path).num_primitives


def _print(summary: dict[str, Any], config: Compress) -> None:
    count, before = summary["num_primitives"], summary["source_primitives"]
    counts = {
        "Gaussians": f"{count:,} of {before:,}",
        "bits per Gaussian of the source": f"{summary['bits_per_gaussian']:.1f}",
    }
    _print_summary(summary, counts)
    if config.target_size is None and config.quality is None:
        console.print(f"--quality {DEFAULT_LOSS} was taken; --target-size BYTES sets the size.")
