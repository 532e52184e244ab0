"""Photos or a video to a posed capture that every other verb reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from captures.from_images import FromImagesOptions, from_images, read_intrinsics

from .common import Common, console


@dataclass(frozen=True, kw_only=True)
class CaptureConfig(Common):
    """Solve camera poses with pycolmap on the CPU and write an undistorted COLMAP capture."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PHOTOS_OR_VIDEO")]
    """Folder of photos, or a video file."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """Folder to write."""
    matcher: Literal["auto", "exhaustive", "sequential"] = "auto"
    """Which image pairs are compared; auto: all pairs of up to 100 photos, else neighbors."""
    mapper: Literal["incremental", "global"] = "incremental"
    """Incremental is the more robust, global the faster one for hundreds of images."""
    max_frames: int = 150
    """Sharp frames taken from a video."""
    max_image_size: int = 1600
    """Longer side in pixels at which features are extracted."""
    max_features: int | None = None
    """Features kept per image; the default is 8192 for photos and 2048 for a video's frames."""
    intrinsics: Path | None = None
    """Text file with the known 3 x 3 pinhole matrix; it is then kept fixed."""
    check_graph: bool = False
    """Before mapping, remove image pairs whose fundamental matrices contradict those around them,
    as pairs of look-alike places do."""
    overwrite: bool = False
    """Replace OUT if it exists."""


@dataclass
class _PhaseBar:
    """One progress bar per phase."""

    progress: Progress
    tasks: dict[str, TaskID] = field(default_factory=dict)

    def __call__(self, phase: str, done: int, total: int | None) -> None:
        if phase not in self.tasks:
            for task in self.tasks.values():
                self.progress.update(task, total=1, completed=1)
            self.tasks[phase] = self.progress.add_task(phase, total=total)
        self.progress.update(self.tasks[phase], completed=done, total=total)


def _clean_graph(database: Path) -> None:
    from registration.viewing_graph import clean_database

    console.print(clean_database(database).verdict)


def run(config: CaptureConfig) -> dict[str, Any]:
    """Reconstructs and returns the summary of `--json`."""
    options = FromImagesOptions(
        matcher=config.matcher,
        mapper=config.mapper,
        max_frames=config.max_frames,
        max_image_size=config.max_image_size,
        max_features=config.max_features,
        intrinsics=None if config.intrinsics is None else read_intrinsics(config.intrinsics),
        seed=config.seed,
        num_threads=config.num_threads,
    )
    columns = (TextColumn("{task.description:<12}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        report = from_images(
            config.source,
            config.out,
            options,
            overwrite=config.overwrite,
            progress=_PhaseBar(progress),
            check_matches=_clean_graph if config.check_graph else None,
        )
    console.print(report.verdict)
    console.print(
        f"{report.num_points} points, mean reprojection error "
        f"{report.reprojection_error:.3f} px, track length {report.track_length:.2f}"
    )
    console.print(f"Wrote {report.output} and {report.output / 'report.html'}")
    return {
        "num_images": report.num_images,
        "num_registered": report.num_registered,
        "reprojection_error": report.reprojection_error,
        "num_points": report.num_points,
        "output": str(report.output),
    }
