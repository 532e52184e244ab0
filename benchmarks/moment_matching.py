"""Registration of held-out shapes by moments alone and in full, with colors of any origin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from registration import Registration, register
from registration.pairwise import Search
from registration.ume import ColorFunction
from registration.units import measure

from .metric import Metric
from .registration_pairs import Pair, harder, pose_error

_CONDITIONS = ("crop 60 %", "crop 40 %", "noise")
_NOISE, _LIMIT = 0.01, 0.02  # of the largest side


@dataclass(frozen=True)
class _Rates:
    """Shares of pairs within 1 degree and 2 % of the size."""

    moments: float
    """Where nothing but moments proposes poses, whether they are believed or not."""
    full: float
    """By `registration.register`, called aligned."""


class _MomentsOnly(Search):
    """A registration in which feature matches judge poses but propose none."""

    def _feature_poses(self, level) -> NDArray[np.float64]:
        return np.zeros((0, 13))


def moment_rows(
    shapes: list[NDArray[np.float64]], colors: dict[str, ColorFunction | None]
) -> Iterator[Metric]:
    """Success with each coloring; the first is the untrained one that the others have to beat."""
    pairs = [
        Pair("shape", points[::2], points[1::2], np.eye(4), limit=_LIMIT, noise=_NOISE)
        for points in shapes
    ]
    rates = {name: _rates(pairs, function) for name, function in colors.items()}
    base = next(iter(rates.values()))
    count = len(pairs) * len(_CONDITIONS)
    for name, found in rates.items():
        learned = found is not base
        for label, share, least in (
            ("by moments alone", found.moments, base.moments),
            ("by register", found.full, base.full),
        ):
            yield Metric(f"{count} held-out pairs {label}, {name}", 100 * share, "%", "higher",
                         0.1, 100 * least if learned else None)  # fmt: skip


def _rates(pairs: list[Pair], colors: ColorFunction | None) -> _Rates:
    alone, full = [], []
    for seed, pair in enumerate(pairs):
        for condition in _CONDITIONS:
            item, motion = harder(pair, condition, seed)
            found = _by_moments(item, colors)
            alone.append(
                found is not None and pose_error(found.T_target_source, item, motion).strict(item)
            )
            found = register(item.source, item.target, colors=colors)
            error = pose_error(found.T_target_source, item, motion)
            full.append(found.converged and error.strict(item))
    return _Rates(float(np.mean(alone)), float(np.mean(full)))


def _by_moments(pair: Pair, colors: ColorFunction | None) -> Registration | None:
    search = _MomentsOnly((measure(pair.source), measure(pair.target)), colors=colors)
    best = search.run()
    return None if best is None else search.answer(best)
