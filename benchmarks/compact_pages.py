"""The suite `compact` as a plot and as tables that the public survey of 3DGS compression reads."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from .command import CHECKOUT
from .compact_runs import Scored

Points = Mapping[str, Mapping[str, Scored]]
"""Scores by scene and by what was written, in the order they shall be drawn."""

_HEADER = ("Submethod", "PSNR", "SSIM", "LPIPS", "Size [Bytes]", "#Gaussians")
_LINES = ("compact", "compress")
"""Series whose points are joined."""
_SEVERAL = (*_LINES, "SPZ")
"""First words of names that make one series."""


def write_tables(points: Points) -> list[Path]:
    """docs/compression/SCENE.csv for every scene; LPIPS stays empty without its weights."""
    written = []
    for scene, rows in points.items():
        path = CHECKOUT / "docs" / "compression" / f"{scene}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(_HEADER)
            for name, row in rows.items():
                scores = f"{row.psnr:.4f}", f"{row.ssim:.5f}", ""
                table.writerow((name, *scores, row.num_bytes, row.num_primitives))
        written.append(path)
    return written


def draw(points: Points, path: Path = CHECKOUT / "docs" / "images" / "compact.png") -> Path:
    """PSNR against bytes, one panel per scene."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(2, len(points))
    rows = -(-len(points) // columns)
    figure, panels = pyplot.subplots(
        rows, columns, figsize=(5.2 * columns, 3.8 * rows), squeeze=False, layout="constrained"
    )
    shown = [name for found in points.values() for name in found if "," not in name]
    looks = {
        name: (pyplot.get_cmap("tab10")(i % 10), "sD^"[i // 10])
        for i, name in enumerate(dict.fromkeys(series(name) for name in shown))
    }
    for panel, (scene, found) in zip(panels.flat, points.items(), strict=False):
        for name, (color, marker) in looks.items():
            chosen = sorted(
                (row.num_bytes / 1e3, row.psnr)
                for label, row in found.items()
                if series(label) == name
            )
            if chosen:
                joined = name in _LINES
                panel.plot(
                    *zip(*chosen, strict=True),
                    linestyle="-" if joined else "none",
                    marker="o" if joined else marker,
                    color=color,
                    label=name,
                )
        panel.set(xscale="log", xlabel="file, kB", title=scene)
        panel.set_ylabel("held-out PSNR, dB")
        panel.xaxis.set_major_formatter("{x:,.0f}")
        panel.grid(alpha=0.3, which="both")
    for panel in list(panels.flat)[len(points) :]:
        panel.set_visible(False)
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2 * columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def series(name: str) -> str:
    """What a point is drawn and compared with: all sizes of a method, both versions of SPZ."""
    first = name.split(" ", maxsplit=1)[0]
    return first if first in _SEVERAL else name
