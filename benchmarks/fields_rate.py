"""Coded fields beside coded splats of the same scene: held-out PSNR against bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from .command import CHECKOUT, fieldwright
from .metric import Metric

SIZES = {
    "trivec": (250_000, 500_000, 1_000_000, 2_000_000),
    "strivec": (1_000_000, 2_000_000, 4_000_000),
}
"""Bytes that `fieldwright compress` is given for a finished field of each kind."""
_RECORDED = CHECKOUT / "benchmarks" / "results"
_PLOT = CHECKOUT / "docs" / "images" / "fields-rate.png"

Points = dict[str, list[tuple[float, float]]]
"""(bytes, PSNR) by series, in the order in which they were measured."""


def rate(kind: str, scene: Path, data: Path, folder: Path) -> Iterator[Metric]:
    """`compress` without photos at several sizes, scored on held-out photos.

    Args:
        kind: Of field.
        scene: Its exact file.
        data: The capture.
        folder: For small files.
    """
    for size in SIZES[kind]:
        small = folder / f"{kind}-{size}.fwa"
        fieldwright("compress", scene, small, "--target-size", size)
        found = fieldwright("eval", small, "--data", data)
        name = f"{kind} compressed to {size / 1e6:g} MB, {data.name}"
        megabytes = small.stat().st_size / 1e6
        yield Metric(f"{name}: size", megabytes, "MB", "lower", 0.05, size / 1e6)
        yield Metric(f"{name}: PSNR", found["psnr"], "dB", "higher", 0.02)


def draw(scene: str, measured: Iterable[Metric]) -> Path:
    """Fields as joined points, splats as single ones.

    Args:
        scene: What to show; rows that the suites `fields` and `compact` recorded are shown, too.
        measured: Further rows.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = _recorded("compact") | _recorded("fields") | {row.name: row.value for row in measured}
    figure, panel = pyplot.subplots(figsize=(7.2, 4.4), layout="constrained")
    for name, found in _points(scene, rows).items():
        joined = name in SIZES
        panel.plot(
            *zip(*sorted((size / 1e3, psnr) for size, psnr in found), strict=True),
            linestyle="-" if joined else "none",
            marker="o" if joined else "s",
            label=name if joined else f"splats, {name}",
        )
    panel.set(xscale="log", xlabel="file, kB", ylabel="held-out PSNR, dB", title=scene)
    panel.xaxis.set_major_formatter("{x:,.0f}")
    panel.grid(alpha=0.3, which="both")
    panel.legend(fontsize="small")
    figure.savefig(_PLOT, dpi=110)
    pyplot.close(figure)
    return _PLOT


def _recorded(suite: str) -> dict[str, float]:
    path = _RECORDED / f"{suite}.json"
    if not path.exists():
        return {}
    return {row["name"]: row["value"] for row in json.loads(path.read_text())["metrics"]}


def _points(scene: str, rows: Mapping[str, float]) -> Points:
    """Fields are named "KIND compressed to SIZE, SCENE", splats "SCENE: NAME"."""
    found: Points = {}
    for name, size in rows.items():
        label = name.removesuffix(": size")
        psnr = rows.get(f"{label}: PSNR")
        if label == name or psnr is None:
            continue
        if label.endswith(f", {scene}"):
            found.setdefault(label.split()[0], []).append((1e6 * size, psnr))
        elif label.startswith(f"{scene}: ") and "," not in label:
            series = label.removeprefix(f"{scene}: ").split()[0]
            found.setdefault(series, []).append((size, psnr))
    return found
