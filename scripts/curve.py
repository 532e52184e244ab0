"""The training curve of a run as a picture."""

from __future__ import annotations

from pathlib import Path

from runs import read_metrics

_PANELS = (
    ("loss", "Loss", "#3b6fd4"),
    ("preview_psnr", "Held-out PSNR (dB), a few views", "#d4593b"),
)


def draw_curve(metrics_file: Path, picture: Path) -> bool:
    """Plot what was logged over steps; False where there is nothing to plot or no matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    rows = read_metrics(metrics_file) if metrics_file.is_file() else []
    panels = []
    for name, title, color in _PANELS:
        points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
        if points:
            panels.append((points, title, color))
    if not panels:
        return False
    figure = Figure(figsize=(4.5 * len(panels), 3.2), layout="constrained")
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (points, title, color) in zip(row, panels, strict=True):
        axes.plot(*zip(*points, strict=True), color=color, marker="." if len(points) < 20 else "")
        axes.set_title(title, loc="left")
        axes.set_xlabel("step")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.2)
    figure.savefig(picture)
    return True
