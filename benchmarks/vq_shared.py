"""The open experiment: what a codebook learned on other scenes gains if files need not hold it.

A codebook of 256 codes from one scene serves as base for another, at no cost; the residual goes
through its own directions, charged as always. Compared with the default plan at the same rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from splats import formats
from vq.nearest import nearest
from vq.quantizers import VectorQuantizer
from vq.vectors.integers import pack_integers
from vq.vectors.search import Search, Trial, full_basis, root

from . import attributes
from .metric import Metric

CODES = 256


def scenes(data: Path, limit: int | None = None) -> dict[str, NDArray[np.float32]]:
    """Harmonics of degree 1 and 2 [n, 24] of scenes that were trained by different people.

    `limit` takes so many rows of each.
    """
    playbot = formats.load(data / "splats" / "playbot_sog_lod" / "3_0" / "meta.json")
    return {
        "toy-cat": attributes.toy_cat(data)[:limit, :8].reshape(-1, 24),
        "playbot": attributes.harmonics(playbot)[:limit, :8].reshape(-1, 24),
    }


def rows_of_gain(x: dict[str, NDArray[np.float32]], rates: tuple[float, ...]) -> Iterator[Metric]:
    """Each scene with a codebook from all the others."""
    for name, rows in x.items():
        others = np.concatenate([found for other, found in x.items() if other != name])
        codes = learn(others)
        for bits in rates:
            metric = f"shared codebook of {CODES}, {name} never seen, {bits:g} b/G: gain"
            yield Metric(metric, gain(rows, codes, bits), "dB", "higher", 0.2)


def learn(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Codes [256, d] of centered rows."""
    quantizer = VectorQuantizer(rows.shape[1], CODES, iterations=12)
    centered = torch.from_numpy(rows - rows.mean(0))
    quantizer.fit(centered)
    return quantizer.decode(torch.arange(CODES)[:, None]).detach().numpy()


def gain(x: NDArray[np.float32], codes: NDArray[np.float32], bits: float) -> float:
    """dB by which the free codes improve on the best plan without codes at the same rate."""
    search = Search(x, (x.shape[1], 1), None, codebooks=(), trade=0.1)
    own = _solved(search, lambda step: search.trial(search.recipes[0](step)), bits)
    rows = torch.from_numpy(x - search.mean)
    rest = (rows - torch.from_numpy(codes)[nearest(rows, torch.from_numpy(codes))[0]]).numpy()
    covariance = np.cov(rest.T.astype(np.float64))
    recipe = search.recipe(codes, full_basis(covariance, 4))

    def trial(step: float) -> Trial:
        found = search.trial(recipe(step))
        free = 8 * len(pack_integers(found.plan.codes)) / len(x)
        return Trial(found.plan, found.bits - free, found.error)

    shared = _solved(search, trial, bits)
    slope = 6.02 / max(len(own.plan.offsets), 1)
    return 10 * math.log10(own.error / shared.error) - slope * (shared.bits - own.bits)


def _solved(search: Search, trial: Callable[[float], Trial], bits: float) -> Trial:
    step = float(np.sqrt(np.trace(search.covariance) / len(search.mean)))
    return trial(root(lambda s: math.log(trial(s).bits / bits), step, 0.005))
