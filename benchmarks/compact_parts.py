"""What each part of the coder earns on a finished compact scene, in bits per Gaussian."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splats.formats import load
from vq import plan, sets
from vq.asset import SetCodec, open_asset, set_order
from vq.asset.vectors import neighbors_of
from vq.sets.coarsening import Coarsening

from .metric import Metric

_STEP = 0.05  # of the harmonics, where methods are compared


def parts(scene: str, path: Path) -> Iterator[Metric]:
    """Each part switched off in turn, everything else equal."""
    gaussians = load(path)
    count = len(gaussians)
    matrix, order, coarsenings = _matrix(path)
    label = f"{scene}: coding a compact scene"

    def row(name: str, num_bytes: float) -> Metric:
        return Metric(f"{label}: {name}", 8 * num_bytes / count, "bit", "lower", 0.05)

    small = SetCodec(coarsenings=coarsenings).encode(matrix)
    fast = SetCodec(preset="fast", coarsenings=coarsenings).encode(matrix)
    yield row("set with contexts", len(small))
    yield row("set without contexts", len(fast))
    yield row("set whose decoder does not know the steps", len(SetCodec().encode(matrix)))
    names = ("x", "y", "z", "scale 1", "scale 2", "scale 3", "opacity", "red", "green", "blue")
    names = (*names, "rotation 1", "rotation 2", "rotation 3")
    for key, size in sets.breakdown(small).items():
        if key:
            name = "position" if key == "positions" else names[3 + int(key)]
            yield row(f"of the set: {name}", size)
    box = sum(max(1, int(np.ptp(matrix[:, axis]))).bit_length() for axis in range(3))
    coded = sets.breakdown(small)["positions"]
    refund = (math.lgamma(count + 1) / math.log(2)) / 8
    yield row("positions as they lie in their box", box * count / 8)
    yield row("refund of the order of a set, at most", refund)
    yield row("positions coded as a set", coded)
    yield from _harmonics(row, gaussians.shN.numpy()[order], matrix)


def _harmonics(
    row: Callable[[str, float], Metric], rows: NDArray[np.float32], matrix: NDArray[np.int32]
) -> Iterator[Metric]:
    """Of rows in the order of the set."""
    if not rows.size:
        return
    step = _STEP
    near = neighbors_of(np.ascontiguousarray(matrix[:, :3]))
    klt = plan.fit(rows, step=step, codebooks=())
    yield row("harmonics by KLT", len(plan.encode(rows, klt, neighbors=near)))
    vq = plan.fit(rows, step=step, codebooks=(256,))
    data = plan.encode(rows, vq, neighbors=near)
    yield row("harmonics by KLT, behind a vector quantizer where it pays", len(data))
    shuffled = np.random.default_rng(0).permutation(len(rows))
    yield row("harmonics by KLT, unsorted", len(plan.encode(rows[shuffled], klt)))


def _matrix(
    path: Path,
) -> tuple[NDArray[np.int32], NDArray[np.int64], dict[str, Coarsening]]:
    """The integers of all layers in the order of one set, which rows of the file they are, and the
    rules of their steps."""
    with open_asset(path) as asset:
        layers = [asset.read(name) for name in asset.sections if name.startswith("set")]
    found = np.concatenate([SetCodec().decode(layer) for layer in layers])
    order = set_order(found)
    return found[order], order, sets.coarsenings(layers[0])
