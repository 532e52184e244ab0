"""Coded fields beside coded splats of the same scene: held-out PSNR against bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from .command import CHECKOUT, fieldwright
from .metric import Metric

SIZES = {
    "trivec": (250_000, 500_000, 1_000_000, 2_000_000),
    "strivec": (1_000_000, 2_000_000, 4_000_000),
}
"""Bytes that `fieldwright compress` is given for a finished field of each kind."""
_SPLATS = CHECKOUT / "benchmarks" / "results" / "compact.json"
_PLOT = CHECKOUT / "docs" / "images" / "fields-rate.png"

Points = dict[str, list[tuple[float, float]]]
"""(bytes, PSNR) by series, in the order in which they were measured."""


def rate(kind: str, scene: Path, data: Path, folder: Path, points: Points) -> Iterator[Metric]:
    """`compress` without photos at several sizes, scored on held-out photos.

    Args:
        kind: Of field.
        scene: Its exact file.
        data: The capture.
        folder: For small files.
        points: Takes what was measured.
    """
    for size in SIZES[kind]:
        small = folder / f"{kind}-{size}.fwa"
        fieldwright("compress", scene, small, "--target-size", size)
        found = fieldwright("eval", small, "--data", data)
        num_bytes = small.stat().st_size
        points.setdefault(kind, []).append((num_bytes, found["psnr"]))
        name = f"{kind} compressed to {size / 1e6:g} MB, lego_400"
        yield Metric(f"{name}: size", num_bytes / 1e6, "MB", "lower", 0.05, size / 1e6)
        yield Metric(f"{name}: PSNR", found["psnr"], "dB", "higher", 0.02)


def splats_of(scene: str) -> Points:
    """What the suite `compact` recorded on the same photos; nothing if it did not."""
    if not _SPLATS.exists():
        return {}
    rows = {row["name"]: row["value"] for row in json.loads(_SPLATS.read_text())["metrics"]}
    found: Points = {}
    for name, num_bytes in rows.items():
        if name.startswith(f"{scene}: ") and name.endswith(": size") and "," not in name:
            psnr = rows.get(f"{name.removesuffix(': size')}: PSNR")
            series = name.removeprefix(f"{scene}: ").split()[0].removesuffix(":")
            if psnr is not None:
                found.setdefault(series, []).append((num_bytes, psnr))
    return found


def draw(points: Points) -> Path:
    """Fields as joined points, splats as single ones."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panel = pyplot.subplots(figsize=(7.2, 4.4), layout="constrained")
    for name, found in points.items():
        joined = name in SIZES
        panel.plot(
            *zip(*sorted((size / 1e3, psnr) for size, psnr in found), strict=True),
            linestyle="-" if joined else "none",
            marker="o" if joined else "s",
            label=name if joined else f"splats, {name}",
        )
    panel.set(xscale="log", xlabel="file, kB", ylabel="held-out PSNR, dB", title="lego_400")
    panel.xaxis.set_major_formatter("{x:,.0f}")
    panel.grid(alpha=0.3, which="both")
    panel.legend(fontsize="small")
    figure.savefig(_PLOT, dpi=110)
    pyplot.close(figure)
    return _PLOT
