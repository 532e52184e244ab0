"""The training curve of a run as a picture."""

from __future__ import annotations

from pathlib import Path

from runs import read_metrics


def draw_curve(metrics_file: Path, picture: Path) -> bool:
    """Plot loss and PSNR over steps; False where there is nothing to plot or no matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    rows = read_metrics(metrics_file) if metrics_file.is_file() else []
    series = {
        name: [(row["step"], row[name]) for row in rows if row.get(name) is not None]
        for name in ("loss", "psnr", "preview_psnr")
    }
    if not series["loss"]:
        return False
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(*zip(*series["loss"], strict=True), color="#3b6fd4")
    left.set_yscale("log")
    left.set_title("Loss", loc="left")
    for name, label, color in (
        ("psnr", "training", "#bbbbbb"),
        ("preview_psnr", "held out", "#d4593b"),
    ):
        if series[name]:
            right.plot(*zip(*series[name], strict=True), label=label, color=color)
    right.set_title("PSNR (dB)", loc="left")
    if right.get_lines():
        right.legend(frameon=False)
    for axes in (left, right):
        axes.set_xlabel("step")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.2)
    figure.savefig(picture)
    return True
