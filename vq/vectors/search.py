"""Choose a plan: the one whose bytes and errors, all counted, lie on the lower envelope."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..nearest import nearest
from ..quantizers.lloyd import fit_codebook
from ..transforms.klt import principal_directions
from .basis import Basis, FullBasis, ProductBasis
from .codec import coefficients, reconstruct
from .coefficients import Rounding, encode_coefficients
from .stages import OFFSET_BITS, TABLE_BITS, Plan

SAMPLE_ROWS = 1 << 15
"""Rows that candidates are tried on; larger arrays are sampled in runs of neighbors."""
SAMPLE_RUN = 1 << 11
ROUGH_ROWS = 1 << 13
"""Rows of the first search for the step."""
ACTIVE = 0.04
"""Directions with less variance than this many squared steps would round to zero anyway."""
COEFFICIENT_BITS = 5.0
"""What a coefficient that is not zero costs, roughly."""
CODEBOOK_ROWS = 1 << 17
CODEBOOK_SHARE = 2.0
"""A codebook is tried where it costs less than this many bits per row."""
SLOPE = 0.16
"""Squared steps that a bit buys at the best trade-off of step and rounding."""
FULL_BITS = (4, 5, 6)
"""Fractional bits tried for stored directions: rounding is undone by the encoder's least squares,
so that few suffice; rows are scarce where fewer pay."""
PRODUCT_BITS = 6


Recipe = Callable[[float], Plan]


@dataclass(frozen=True)
class Trial:
    """What a plan does to the sample."""

    plan: Plan
    bits: float
    """Per row of the whole array, everything counted."""
    error: float
    """Squared error per row."""

    def cost(self, step: float) -> float:
        """Error plus bits at the price of `step`."""
        return self.error + SLOPE * step**2 * self.bits


class Search:
    """One array, its statistics and the sample that candidates are tried on."""

    def __init__(
        self,
        x: NDArray[np.float32],
        shape: tuple[int, int],
        weights: NDArray[np.floating] | None,
        *,
        codebooks: tuple[int, ...],
        trade: float,
    ) -> None:
        self.count, self.shape, self.trade = max(len(x), 1), shape, trade
        sizes = [k for k in codebooks if k * x.shape[1] * 5 < CODEBOOK_SHARE * len(x)]
        self.rows = x
        self.sample, self.rough = x[_runs(len(x), SAMPLE_ROWS)], x[_runs(len(x), ROUGH_ROWS)]
        self.shares = np.ones(len(x)) if weights is None else weights
        self.shares = np.asarray(
            self.shares / max(float(self.shares.sum()), 1e-30), dtype=np.float32
        )
        mean = self.shares @ x
        # Once more from there: a float32 sum of a million rows is not their mean yet.
        self.mean = mean + self.shares @ (x - mean)
        centered = x - self.mean
        self.covariance = ((centered.T * self.shares) @ centered).astype(np.float64)
        self.recipes = [*self._without_codes(), *map(self._with_codes, sizes)]

    def best(self, step: float) -> Recipe:
        """The recipe whose plan costs least at this step."""
        return min(self.recipes, key=lambda recipe: self.trial(recipe(step)).cost(step))

    def trial(self, plan: Plan, *, rough: bool = False) -> Trial:
        """Encode the sample under `plan` without its idle directions and with fitted offsets."""
        sample = self.rough if rough else self.sample
        scaled, _ = coefficients(sample, plan)
        values, _ = _rounded(scaled, plan)
        useful = _useful(scaled, values, plan, self.count / max(len(sample), 1))
        plan = replace(
            plan,
            basis=_select(plan.basis, useful),
            offsets=_offsets(scaled[:, useful], values[:, useful]),
        )
        scaled, indices = coefficients(sample, plan)
        values, coded = _rounded(scaled, plan)
        error = sample - reconstruct(values, indices, plan)
        coded += _index_bits(indices)
        rows = max(len(sample), 1)
        bits = coded / rows + 8 * len(plan.to_bytes()) / self.count
        return Trial(plan, bits, float(np.square(error, dtype=np.float64).sum() / rows))

    def _without_codes(self) -> list[Recipe]:
        none = np.zeros((0, len(self.mean)), dtype=np.float32)
        bases = [full_basis(self.covariance, bits) for bits in FULL_BITS]
        m, k = self.shape
        if k > 1:
            table = self.covariance.reshape(m, k, m, k)
            left = principal_directions(np.einsum("ajbj->ab", table))
            right = principal_directions(np.einsum("iaib->ab", table))
            for sides in ((left, right), (left, None), (None, None)):
                bases.append(_product_basis(self.covariance, *sides, self.shape))
        return [self.recipe(none, basis) for basis in bases]

    def _with_codes(self, size: int) -> Recipe:
        every = -(-self.count // CODEBOOK_ROWS)
        rows = torch.from_numpy(self.rows[::every] - self.mean)
        weights = torch.from_numpy(self.shares[::every] * np.float32(self.count))
        codes = fit_codebook(rows, size, weights=weights, iterations=8, seed=0)
        index = nearest(rows, codes)[0]
        order = torch.bincount(index, minlength=size).argsort(descending=True, stable=True)
        rest = (rows - codes[index]).double().numpy()
        covariance = rest.T @ rest / len(rest)
        return self.recipe(codes[order].numpy(), full_basis(covariance, FULL_BITS[-1]))

    def recipe(
        self, codes: NDArray[np.float32], basis: tuple[Basis, NDArray[np.floating]]
    ) -> Recipe:
        directions, variances = basis

        def plan(step: float) -> Plan:
            step = float(np.float32(step))
            quarter = step / 2**TABLE_BITS
            kept = np.flatnonzero(variances > ACTIVE * step**2)
            return Plan(
                self.shape,
                step,
                np.round(self.mean / quarter).astype(np.int32),
                np.round(codes / quarter).astype(np.int32),
                _select(directions, kept),
                np.zeros((len(kept), 3), dtype=np.int32),
                self.trade,
            )

        return plan


def solve(search: Search, surplus: Callable[[Trial], float]) -> Plan:
    """The best plan for which `surplus`, which falls with the logarithm of the step, is zero.

    Recipes are compared once, near the solution; the winner's step is refined after that.
    """
    step = float(np.sqrt(max(np.trace(search.covariance), 1e-30) / len(search.mean)))
    step = root(lambda s: surplus(search.trial(search.recipes[0](s), rough=True)), step, 0.05)
    recipe = search.best(step)
    step = root(lambda s: surplus(search.trial(recipe(s))), step, 0.002)
    return search.trial(recipe(step)).plan


def root(surplus: Callable[[float], float], step: float, tolerance: float) -> float:
    """Where `surplus` is within `tolerance` of zero, by secants; the nearest met if it never is."""
    at, slope, best = float(np.log(step)), -1.2, (np.inf, step)
    previous: tuple[float, float] | None = None
    for _ in range(16):
        found = surplus(float(np.exp(at)))
        best = min(best, (abs(found), float(np.exp(at))))
        if abs(found) <= tolerance:
            break
        if previous is not None and at != previous[0]:
            slope = (found - previous[1]) / (at - previous[0])
        previous = (at, found)
        at -= float(np.clip(found / min(slope, -0.5), -1.5, 1.5))
    return best[1]


def _runs(count: int, wanted: int) -> NDArray[np.int64]:
    """Rows of a sample: all, or runs of neighbors spread evenly."""
    if count <= wanted:
        return np.arange(count)
    starts = np.linspace(0, count - SAMPLE_RUN, wanted // SAMPLE_RUN).astype(np.int64)
    return (starts[:, None] + np.arange(SAMPLE_RUN)).ravel()


def _rounded(scaled: NDArray[np.float32], plan: Plan) -> tuple[NDArray[np.int32], float]:
    """The integers that the encoder chooses, and their bits."""
    values = np.zeros(scaled.shape, dtype=np.int32)
    if not scaled.size:
        return values, 0.0
    streams = encode_coefficients(values, rounding=Rounding(scaled, plan.centroids, plan.trade))
    return values, 8.0 * sum(map(len, streams))


def _useful(
    scaled: NDArray[np.float32], values: NDArray[np.int32], plan: Plan, scale: float
) -> NDArray[np.int64]:
    """Directions that save more error than they cost, numbers of the plan included."""
    saved = np.square(scaled).sum(0) - np.square(scaled - values).sum(0)
    spent = COEFFICIENT_BITS * np.count_nonzero(values, axis=0)
    stored = scaled.shape[1] and 8 * len(plan.basis.to_bytes()) / scaled.shape[1] / scale
    return np.flatnonzero(saved > SLOPE * (spent + stored))


def _offsets(scaled: NDArray[np.float32], values: NDArray[np.int32]) -> NDArray[np.int32]:
    """[r, 3] how far the mean of what became 1, 2 and 3.. lies off, in sixteenths of a step."""
    magnitudes = np.abs(values)
    beyond = np.abs(scaled) - magnitudes
    columns = []
    for m in (1, 2, 3):
        chosen = magnitudes == m if m < 3 else magnitudes >= m
        # A prior of eight values that lie where they are rounded to keeps rare ones calm.
        columns.append((beyond * chosen).sum(0) / (chosen.sum(0) + 8))
    limit = 2 ** (OFFSET_BITS - 1)
    rounded = np.round(np.stack(columns, axis=1) * 2**OFFSET_BITS)
    return np.clip(rounded, -limit, limit).astype(np.int32)


def _index_bits(indices: NDArray[np.int64] | None) -> float:
    """Bits of the indices at their own entropy."""
    if indices is None or not len(indices):
        return 0.0
    counts = np.bincount(indices)
    counts = counts[counts > 0]
    return float(-(counts * np.log2(counts / len(indices))).sum())


def _select(basis: Basis, kept: NDArray[np.int64]) -> Basis:
    if isinstance(basis, FullBasis):
        return replace(basis, rows=basis.rows[kept])
    return replace(basis, order=basis.order[kept])


def full_basis(covariance: NDArray[np.float64], bits: int) -> tuple[Basis, NDArray[np.floating]]:
    """All principal directions and their variances."""
    directions = principal_directions(covariance)
    rows = np.round(directions * 2**bits).astype(np.int32)
    return FullBasis(rows, bits), _variances(directions, covariance)


def _product_basis(
    covariance: NDArray[np.float64],
    left: NDArray[np.float64] | None,
    right: NDArray[np.float64] | None,
    shape: tuple[int, int],
) -> tuple[Basis, NDArray[np.floating]]:
    """All products of the sides, by descending variance; None takes the fixed transform."""
    sides = [
        None if side is None else np.round(side * 2**PRODUCT_BITS).astype(np.int32)
        for side in (left, right)
    ]
    everything = np.arange(shape[0] * shape[1], dtype=np.int32)
    basis = ProductBasis(sides[0], sides[1], PRODUCT_BITS, everything, shape)
    variances = _variances(basis.rows * 2.0**-basis.bits, covariance)
    order = np.argsort(-variances, kind="stable")
    return replace(basis, order=everything[order]), variances[order]


def _variances(
    directions: NDArray[np.floating], covariance: NDArray[np.float64]
) -> NDArray[np.floating]:
    return np.einsum("ri,ij,rj->r", directions, covariance, directions)
