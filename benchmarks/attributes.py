"""Attributes of real splats, in the order in which codecs get them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splats import formats
from splats.gaussians import Gaussians
from vq.sets.morton import morton_order


def toy_cat(data: Path) -> NDArray[np.float32]:
    """Harmonics [23261, 15, 3] of the toy cat, in Morton order of the positions."""
    return harmonics(formats.load(data / "splats" / "toy-cat" / "scene.compressed.ply"))


def harmonics(gaussians: Gaussians) -> NDArray[np.float32]:
    """`shN` in Morton order of the positions."""
    return gaussians.shN.detach().numpy()[order(gaussians)]


def order(gaussians: Gaussians) -> NDArray[np.int64]:
    """Morton order of the positions on a lattice of 2^16 cells per side."""
    means = gaussians.means.detach().double().numpy()
    low = means.min(0)
    cells = (means - low) / max(float((means - low).max()), 1e-30) * 65535
    return morton_order(np.round(cells).astype(np.uint32))
