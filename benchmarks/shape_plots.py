"""The picture of the shape suite: quality of every family against its floats and its bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .shape_trials import Trial, Truth

_COLORS = {"vecset": "#4c78a8", "hierarchy": "#72b7b2", "triplane": "#f58518", "grid": "#b279a2",
           "hybrid": "#000000"}  # fmt: skip


def plot(trials: Sequence[Trial], known: dict[str, list[Truth]], path: Path) -> Path:
    """IoU over bytes: families as curves with intervals over seeds, bottlenecks as marks."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups = [group for group in ("held out", "real") if group in known]
    figure, panels = pyplot.subplots(
        1, len(groups), figsize=(5.6 * len(groups), 4.6), dpi=110, squeeze=False, sharey=True
    )
    for axes, group in zip(panels[0], groups, strict=True):
        for family, color in _COLORS.items():
            points = []
            for floats in sorted({t.config["floats"] for t in trials}):
                chosen = [t for t in trials if t.config["family"] == family
                          and t.config["floats"] == floats
                          and t.config["bottleneck"] == "normalized"]  # fmt: skip
                if chosen:
                    means = [np.mean(t.scores[group]["IoU"]) for t in chosen]
                    size = np.mean([t.scores[group]["bits"] for t in chosen]) / 8
                    points.append((size, np.mean(means), np.std(means)))
            if points:
                x, y, spread = np.transpose(points)
                axes.errorbar(x, y, spread, color=color, marker="o", capsize=3, label=family)
        others = dict.fromkeys(t.config["bottleneck"] for t in trials)
        marks = dict(zip([b for b in others if b != "normalized"], "v^<>sD", strict=False))
        for bottleneck, mark in marks.items():
            chosen = [t for t in trials if t.config["bottleneck"] == bottleneck]
            size = np.mean([t.scores[group]["bits"] for t in chosen]) / 8
            value = np.mean([t.scores[group]["IoU"] for t in chosen])
            label = f"hybrid, {bottleneck}"
            axes.plot(size, value, mark, color="#888888", markersize=7, label=label)
        title = "held-out procedural shapes" if group == "held out" else "real meshes, never seen"
        axes.set(xscale="log", xlabel="bytes of the latent's file", title=title)
        axes.grid(alpha=0.3, which="both")
    panels[0][0].set_ylabel("volumetric IoU")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5),
                  frameon=False)  # fmt: skip
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight")
    pyplot.close(figure)
    return path
