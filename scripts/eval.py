"""Score a scene on held-out photos: PSNR, SSIM, LPIPS, size, speed, and a report with pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from captures import Capture, load_capture
from captures.evaluation import (
    BACKGROUNDS,
    Background,
    Evaluation,
    choose_background,
    evaluate,
)
from captures.report import ReportFolder
from fields.scene_files import open_scene
from runs import peak_memory_bytes

from .common import Common, console, resolve_device
from .curve import draw_curve
from .scenes import run_settings, training_summary


@dataclass(frozen=True, kw_only=True)
class Eval(Common):
    """Flags of `fieldwright eval`."""

    scene: Annotated[Path, tyro.conf.Positional]
    """A run folder or a scene file."""
    data: Path | None = None
    """Folder of the capture; None takes that of the run."""
    out: Path | None = None
    """Folder of the report; None takes RUN/eval, or no report for a scene file."""
    downscale: float | None = None
    """Reduce the photos by this factor; None takes that of the run."""
    test_every: int | None = None
    """Hold out every n-th photo; None takes that of the run, else 8."""
    background: Literal["auto"] | Background = "auto"
    """Behind the scene and transparent photos; auto takes the color that the run was trained on,
    else white for photos with alpha and black for others."""
    overwrite: bool = False
    """Replace an earlier report in `--out`; RUN/eval is always replaced."""


def run(config: Eval) -> dict[str, Any]:
    """Evaluate and write the report; returns the `--json` summary."""
    settings, training = run_settings(config.scene), training_summary(config.scene)
    data = config.data or settings.get("data")
    if data is None:
        raise ValueError(f"{config.scene} does not say which capture it is of; pass --data DIR.")
    device = resolve_device(config)
    scene = open_scene(config.scene, device=device)
    capture = load_capture(
        Path(data),
        downscale=config.downscale or settings.get("downscale"),
        test_every=config.test_every or settings.get("test_every") or 8,
    )
    folder = config.out
    if folder is None and config.scene.is_dir():
        folder = config.scene / "eval"
    elif folder is not None and folder.exists() and any(folder.iterdir()) and not config.overwrite:
        raise FileExistsError(f"{folder} is not empty; choose another one or pass --overwrite.")
    name = config.background
    if name == "auto":
        method = settings.get("method")
        trained_on = method.get("background") if isinstance(method, dict) else None
        name = choose_background(capture, trained_on)
    report = None if folder is None else ReportFolder(folder)
    background = torch.tensor(BACKGROUNDS[name])
    result = evaluate(
        scene,
        capture,
        background=background,
        on_image=None if report is None else report.picture_writer(capture, background),
    )
    _print(result)
    summary = {
        "psnr": result.psnr,
        "ssim": result.ssim,
        "lpips": result.lpips,
        "num_test_images": len(result.images),
        "num_bytes": result.num_bytes,
        "num_primitives": result.num_primitives,
        "bits_per_primitive": result.bits_per_primitive,
        "frames_per_second": result.frames_per_second,
        "steps": training.get("steps"),
        "seconds": training.get("seconds"),
        "peak_memory_bytes": peak_memory_bytes(),
        "device": str(device),
        "run": str(config.scene),
        "report": None,
    }
    if report is not None:
        draw_curve(config.scene / "metrics.jsonl", report.folder / "curve.svg")
        stated = facts(config.scene, capture, name, str(device)) | training_facts(training)
        page = report.write(result, facts=stated)
        summary["report"] = str(page)
        console.print(f"Report: {page}")
    return summary


def facts(path: Path, capture: Capture, background: str, device: str) -> dict[str, str]:
    """What a report says about where its numbers come from."""
    from runs import cpu_name

    return {
        "Scene": str(path),
        "Capture": str(capture.source),
        "Split": capture.split,
        "Resolution": capture.resolution,
        "Background": background,
        "Protocol": "render and photo rounded to 8 bits; mean of per-image values; file reloaded",
        "Device": device,
        "CPU": cpu_name(),
    }


def training_facts(training: dict[str, Any]) -> dict[str, str]:
    """What a report says about the training, from the run's summary; empty without one."""
    if not training:
        return {}
    ended = training["interrupted_by"]
    return {
        "Training": f"{training['steps']:,} steps in {training['seconds']:.0f} s"
        + (f", stopped by {ended}" if ended else ""),
        "Memory": f"{training['peak_memory_bytes'] / 1e9:.2f} GB at most while training",
    }


def _print(result: Evaluation) -> None:
    lpips = "not available" if result.lpips is None else f"{result.lpips:.4f}"
    console.print(
        f"{len(result.images)} held-out images: PSNR {result.psnr:.2f} dB, SSIM {result.ssim:.4f}, "
        f"LPIPS {lpips}; {result.num_bytes / 1e6:.2f} MB, {result.num_primitives:,} primitives, "
        f"{result.frames_per_second:.1f} frames/s"
    )
