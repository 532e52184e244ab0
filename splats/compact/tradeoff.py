"""Error against bits: how coarse each attribute may be, measured on pictures of the scene.

Near a step Δ an attribute's error is D = D₁ (Δ/Δ₁)^p and its rate falls by r bits per doubling.
At a price λ of a bit, error and bits together are least where the derivatives agree:
p ln 2 · D = λ r. One price for all attributes, and for the Gaussians that are left out, is the
best allocation (reverse water-filling); the price is the one knob that a search turns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..formats.fwa_quantization import canonical_values
from .contribution import contributing
from .judge import Judge
from .precision import ATTRIBUTES, Precision, Rounded, rounded, usual_precision, with_rows

IDLE_SHARES = (1e-4, 3e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.5e-2, 3e-2)
"""Shares of all weight that may be left out."""
SAFE_SHARE = 1.2e-3
"""The most where cameras do not see all that matters."""
COARSEST = {"log_scale": 0.6, "rotation": 0.3, "logit_opacity": 1.6, "color": 0.6}
"""Beyond these steps errors no longer behave like those of rounding."""
_USUAL_EXPONENT = {"position": 1.6, "harmonics": 1.6}
_ROUNDING_EXPONENT = 2.0
_EXPONENTS = (0.0, 0.3, 0.8)
"""Of gradings, beside the usual one: tried for each attribute."""
_ON_GRID = 0.02
"""Rounding to the half of a step makes a quarter of its error, or hardly any at all."""
_LARGE = 300_000
_SAMPLE = 100_000


@dataclass(frozen=True)
class Curve:
    """One attribute around the step that was measured."""

    step: float
    """Δ₁."""
    error: float
    """D₁: mean squared change of a picture."""
    exponent: float
    """p."""
    bits: float
    """Of the whole scene at Δ₁, without contexts."""
    slope: float
    """r: bits that a doubling of the step saves."""

    def step_at(self, price: float) -> float:
        """Where another bit buys `price` of error."""
        wanted = price * self.slope / (self.exponent * math.log(2))
        return self.step * (wanted / max(self.error, 1e-14)) ** (1 / self.exponent)

    def error_at(self, step: float) -> float:
        """D."""
        return self.error * (step / self.step) ** self.exponent

    def bits_at(self, step: float) -> float:
        """R."""
        return max(0.0, self.bits - self.slope * math.log2(step / self.step))


@dataclass(frozen=True)
class Allocation:
    """What a price stands for."""

    precision: Precision
    """The steps."""
    kept: Int64[Tensor, "M"]
    """Which Gaussians are worth their bits."""
    price: float = 1.0
    """Of a bit, in mean squared error."""


class Tradeoff:
    """Measured once per scene; `at` gives the allocation of any price."""

    def __init__(
        self,
        judge: Judge,
        weights: Float[Tensor, "N"],
        *,
        removes: bool = True,
        graded: bool = True,
    ) -> None:
        """
        Args:
            judge: Of the scene.
            weights: Of its Gaussians, see `Judge.weights`.
            removes: Whether Gaussians may be left out.
            graded: Whether what shows more may have finer steps.
        """
        self.gaussians, self._weights = judge.scene.gaussians, weights
        self._usual = usual_precision(self.gaussians)
        if not graded:
            self._usual = replace(self._usual, grading=None)
        sample, curves = _Sample(judge), {}
        for name in ATTRIBUTES:
            if self._has(name):
                self._usual, curves[name] = _measure(sample, self._usual, name)
        self.curves: Mapping[str, Curve] = curves
        self._removes = removes
        self.removals = self._measure_removals(judge) if removes else {}

    def at(self, price: float) -> Allocation:
        """The best allocation where a bit costs `price` of mean squared error."""
        precision = self._usual
        for name, curve in self.curves.items():
            step = min(curve.step_at(price), COARSEST.get(name, math.inf))
            precision = precision.with_step(name, step)
        share, best = 0.0, 0.0
        bits = self.bits(precision) / max(1, len(self.gaussians))
        for candidate, (count, error) in self.removals.items():
            saved = price * bits * count - error
            if saved > best:
                share, best = candidate, saved
        return Allocation(precision, self.kept(share), price)

    def kept(self, share: float) -> Int64[Tensor, "M"]:
        """The Gaussians that hold all weight but `share`; all where none may be left out."""
        if not self._removes:
            return torch.arange(len(self.gaussians))
        return contributing(self._weights, idle_share=share)

    def bits(self, precision: Precision) -> float:
        """Of the whole scene, without contexts and with the order that a set does not pay for."""
        count = max(1, len(self.gaussians))
        refund = math.lgamma(count + 1) / math.log(2)
        found = sum(curve.bits_at(getattr(precision, name)) for name, curve in self.curves.items())
        return max(found - refund, float(count))

    def bits_at_error(self, error: float) -> float:
        """`bits` where the attributes' errors add up to about `error`, and nothing is left out."""
        return self.bits(self.at(self.first_price(error)).precision)

    def first_price(self, error: float) -> float:
        """Where the errors of all attributes add up to about `error`."""
        share = sum(c.slope / (c.exponent * math.log(2)) for c in self.curves.values())
        return error / max(share, 1.0)

    def _has(self, name: str) -> bool:
        return name != "harmonics" or self.gaussians.shN.numel() > 0

    def _measure_removals(self, judge: Judge) -> dict[float, tuple[int, float]]:
        """(number of Gaussians, error) by share."""
        found = {}
        shares = IDLE_SHARES[1::2] if len(self.gaussians) > _LARGE else IDLE_SHARES
        for share in shares:
            if share > SAFE_SHARE and judge.weighed is None:
                break
            kept = self.kept(share)
            if 0 < len(kept) < len(self.gaussians):
                error = judge.error(self.gaussians[kept])
                found[share] = (len(self.gaussians) - len(kept), error)
        return found


class _Sample:
    """Some Gaussians of a scene; their errors add up, so they speak for all."""

    def __init__(self, judge: Judge) -> None:
        scene = judge.scene.gaussians
        self._judge, self.count = judge, len(scene)
        self._index = torch.arange(0, self.count, -(-self.count // _SAMPLE) or 1)
        self._gaussians = scene[self._index]
        self._exact = canonical_values(self._gaussians)
        self._factor = self.count / max(1, len(self._index))

    def rounded(self, precision: Precision, name: str) -> Rounded:
        """One attribute rounded."""
        return rounded(self._gaussians, precision, (name,), exact=self._exact)

    def bits(self, found: Rounded, name: str) -> float:
        """Of an attribute of the whole scene."""
        return self._factor * found.bits[name]

    def error(self, found: Rounded) -> float:
        """Of the whole scene, were it rounded so."""
        scene = with_rows(self._judge.scene.gaussians, self._index, found.gaussians)
        return self._factor * self._judge.error(scene)

    def curve(self, precision: Precision, name: str) -> Curve:
        """From two steps; large scenes are rendered at one of them: rounding errors are known to
        be quadratic."""
        step = getattr(precision, name)
        fine = self.rounded(precision, name)
        coarse = self.rounded(precision.with_step(name, 2 * step), name)
        error, bits, coarse_bits = self.error(fine), self.bits(fine, name), self.bits(coarse, name)
        slope = max(bits - coarse_bits, 0.3 * self.count)
        exponent = _USUAL_EXPONENT.get(name, _ROUNDING_EXPONENT)
        if self.count > _LARGE:
            return Curve(step, error, exponent, bits, slope)
        coarse_error = self.error(coarse)
        if error < _ON_GRID * coarse_error:  # the scene comes from a file with this very step
            return Curve(2 * step, coarse_error, exponent, coarse_bits, slope)
        growth = math.log2(max(coarse_error, 1e-14) / max(error, 1e-14))
        return Curve(step, error, min(max(growth, 1.0), 2.5), bits, slope)


def _measure(sample: _Sample, usual: Precision, name: str) -> tuple[Precision, Curve]:
    """The curve of an attribute, and the usual precision with the grading at which it is best."""
    first = sample.curve(usual, name)
    if usual.grading is None or name == "position" or sample.count > _LARGE:
        return usual, first

    def cost(error: float, bits: float) -> float:
        """Bits at equal error, but for a number that is common to all."""
        return bits + first.slope / first.exponent * math.log2(max(error, 1e-14))

    best, least = usual, cost(first.error, first.bits)
    for exponent in _EXPONENTS:
        other = replace(usual, grading=replace(usual.grading, **{name: exponent}))
        found = sample.rounded(other.with_step(name, first.step), name)
        price = cost(sample.error(found), sample.bits(found, name))
        if price < least:
            best, least = other, price
    return best, first if best is usual else sample.curve(best, name)
