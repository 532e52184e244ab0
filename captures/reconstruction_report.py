"""What a reconstruction from photos achieved: numbers, advice and a picture of the cameras."""

from __future__ import annotations

import html
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

_FEW_SHARE = 0.8  # below this share of registered images the report gives advice


@dataclass(frozen=True)
class ReconstructionReport:
    """Result of `from_images`."""

    num_images: int
    """Photos or frames that were tried."""
    num_registered: int
    """Those whose pose was found."""
    num_points: int
    """Sparse points."""
    reprojection_error: float
    """Mean over all observations, in pixels."""
    track_length: float
    """Mean number of images that see a point."""
    missing: tuple[str, ...]
    """Names of the images without a pose."""
    output: Path
    """The capture folder."""

    @property
    def verdict(self) -> str:
        """What happened and, where images are missing, what to try, in plain words."""
        found = f"{self.num_registered} of {self.num_images} images have a pose."
        if self.num_registered == self.num_images:
            return f"All is well: {found}"
        names = ", ".join(self.missing[:5]) + (", ..." if len(self.missing) > 5 else "")
        if self.num_registered >= _FEW_SHARE * self.num_images:
            return f"{found} Without: {names}; training can start with the others."
        return (
            f"Few images registered: {found} Without: {names}. Photos need about 70 percent "
            "overlap with their neighbours: add photos between the gaps, walk around the subject "
            "instead of turning on the spot, avoid blur and bare or shiny walls, or try "
            "--matcher exhaustive."
        )


def write_report(
    report: ReconstructionReport,
    folder: Path,
    *,
    positions: Float[np.ndarray, "C 3"],
    up: Float[np.ndarray, "3"],
    points: Float[np.ndarray, "M 3"],
    colors: Float[np.ndarray, "M 3"],
) -> None:
    """Writes `report.json`, `report.html` and `cameras.png` into `folder`.

    Args:
        report: the numbers.
        folder: an existing folder.
        positions: camera centres in the world.
        up: mean up direction of the cameras in the world.
        points: sparse points in the world.
        colors: their sRGB colors in [0, 1].
    """
    numbers = {**asdict(report), "output": str(report.output), "verdict": report.verdict}
    (folder / "report.json").write_text(json.dumps(numbers, indent=2) + "\n")
    _draw(folder / "cameras.png", positions, up, points, colors)
    rows = "".join(
        f"<tr><th>{label}</th><td>{value}</td></tr>"
        for label, value in (
            ("Images", report.num_images),
            ("Registered", report.num_registered),
            ("Points", report.num_points),
            ("Mean reprojection error", f"{report.reprojection_error:.3f} px"),
            ("Mean track length", f"{report.track_length:.2f}"),
        )
    )
    (folder / "report.html").write_text(
        "<!doctype html><meta charset=utf-8><title>Reconstruction</title>"
        "<style>body{font:16px sans-serif;max-width:60em;margin:2em auto}th{text-align:left;"
        "padding-right:2em}img{max-width:100%}</style><h1>Reconstruction</h1>"
        f"<p>{html.escape(report.verdict)}</p><table>{rows}</table><img src=cameras.png>\n"
    )


def _draw(path: Path, positions, up, points, colors) -> None:
    """Cameras and points from above and from the side."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "The picture of the cameras needs matplotlib; install it with pip install "
            '"fieldwright[report]".'
        ) from error
    everything = np.concatenate([points, positions])
    center = np.median(everything, axis=0)
    z = up / np.linalg.norm(up)
    spread = positions - positions.mean(0)
    spread = spread - (spread @ z)[:, None] * z
    x = np.linalg.svd(spread, full_matrices=False)[2][0]
    x = x - (x @ z) * z
    x /= np.linalg.norm(x)
    axes = np.stack([x, np.cross(z, x), z], axis=1)
    seen, eyes = (points - center) @ axes, (positions - center) @ axes
    reach = 1.15 * max(
        np.percentile(np.abs(seen), 96) if len(seen) else 0.0, float(np.abs(eyes).max()), 1e-6
    )
    figure = Figure(figsize=(12, 6), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (title, first, second) in enumerate((("From above", 0, 1), ("From the side", 0, 2))):
        plot = figure.add_subplot(1, 2, place + 1)
        plot.scatter(seen[:, first], seen[:, second], s=1.5, c=colors, linewidths=0)
        plot.plot(eyes[:, first], eyes[:, second], "-", color="0.6", linewidth=0.6)
        plot.scatter(eyes[:, first], eyes[:, second], s=22, c="crimson", marker="^")
        plot.set(title=title, xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    figure.savefig(path, dpi=110)
