"""Rate-distortion pictures for the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .vq_curves import OURS, Point


def plot(
    points: Sequence[Point],
    path: Path,
    *,
    title: str,
    widest: float,
    bound: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None,
) -> Path:
    """Curves of all methods up to `widest` bits per row; the bound dashed where there is one."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5.5), dpi=110)
    methods = list(dict.fromkeys(point.method for point in points))
    colors = pyplot.get_cmap("tab20")
    for number, method in enumerate(methods):
        ours = method == OURS
        curve = sorted((p.bits, p.snr) for p in points if p.method == method and p.bits <= widest)
        if not curve:
            continue
        axes.plot(
            *zip(*curve, strict=True),
            color="black" if ours else colors(number % 20),
            marker="o" if ours else "s",
            markersize=4,
            linewidth=2.4 if ours else 1.2,
            label=method,
            zorder=3 if ours else 2,
        )
    if bound is not None:
        shown = bound[0] <= widest
        axes.plot(bound[0][shown], bound[1][shown], "--", color="gray", label="Shannon bound")
    axes.set(xlabel="bits per row, everything charged", ylabel="SNR (dB)", title=title)
    axes.set_xlim(0, widest)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    pyplot.close(figure)
    return path
