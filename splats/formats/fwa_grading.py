"""Finer grids for Gaussians that show more, by what a decoder knows already.

The change of a picture when a number of one Gaussian is rounded grows with the square of its
opacity a and with the area s1 s2 that it covers; of its rotation, also with how far its axes
differ, (2 sinh ln(s1 / s2))^2, as a round one looks the same however it is turned. Were these
predictions exact, the best steps would be in proportion to their inverse square roots (reverse
water-filling); as they are not, the exponent is a bit lower. A file codes scales, then opacities,
then colors and rotations, each in steps that follow from what came before (`vq.sets.coarsening`):
2^k times the finest, the integer k from integers, so that every decoder finds the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vq.sets.coarsening import FRACTION_BITS, Coarsening, Term

LOG_SCALES, OPACITY = ("0", "1", "2"), "3"
COLORS, ROTATIONS = ("4", "5", "6"), ("7", "8", "9")
"""Names of the columns of a coded set."""

_EXPONENT = 0.6
"""Of the predicted change, whose inverse the squared steps are in proportion to: measured, 0.5 is
best for scenes from other tools and 0.7 for our own."""
_FINER, _COARSER = 4, 4
"""Octaves around the stated steps, at most."""
_COARSEST = {"log_scale": 1.2, "rotation": 0.8, "logit_opacity": 4.0, "color": 2.0}
_THIN = 1.0
"""Octaves by which the smallest of the three scales is coarser: it shows least."""
_USUAL_OPACITY, _USUAL_ANISOTROPY, _USUAL_GAP = -1.5, 1.5, 1.4
"""log2 of the opacity and of the squared sinh, and log2(s1 / s2), of a Gaussian of stated steps."""
_KNEE = 1.386
"""log2(sigmoid(x)) is nearly the mean of two hinges at -+ this x: they meet at -ln 2 for x = 0."""
_ROUND, _SLOPE_ROUND, _SLOPE_LONG = -3.3, 7.1, 2.885
"""log2((2 sinh r)^2 + 0.1) is nearly -3.3 + 7.1 r up to r = 1/2, where the slope falls."""


@dataclass(frozen=True)
class GradedSteps:
    """Steps of Gaussians of a usual opacity and shape that cover `area`; see `Steps`."""

    log_scale: float
    rotation: float
    logit_opacity: float
    color: float
    area: float

    usual_coarseness = _FINER
    """k of a Gaussian of these steps."""
    finest = 1 << _FINER
    """Parts of these steps that integers are multiples of."""

    @property
    def steps(self) -> tuple[float, float, float, float]:
        """Of log scales, rotations, opacities and colors."""
        return self.log_scale, self.rotation, self.logit_opacity, self.color

    def log_scale_integers(self, sizes: Float[Tensor, "N 3"]) -> Int64[Tensor, "N 3"]:
        """The nearest allowed integers, descending like the numbers that are given."""
        known: dict[str, Tensor] = {}
        for axis, name in enumerate(LOG_SCALES):
            rule, base = self.coarsenings[name], self.coarsenings[name].base(known)
            found = _nearest(rule, base, sizes[:, axis])
            if axis > 0:
                # Rounded more coarsely than this one, the one before could fall below it.
                most = known[LOG_SCALES[axis - 1]]
                k = rule.coarseness(base, most)
                found = torch.where(found > most, most >> k << k, found)
            known[name] = found
        return torch.stack(list(known.values()), dim=1)

    def integers(
        self,
        column: str,
        numbers: Float[Tensor, "N c"],
        log_scales: Int64[Tensor, "N 3"],
        opacities: Int64[Tensor, "N 1"] | None = None,
    ) -> Int64[Tensor, "N c"]:
        """The nearest allowed integers of opacities, colors or rotations: `column` is one of
        theirs."""
        base = self._base(column, log_scales, opacities)
        return _nearest(self.coarsenings[column], base, numbers)

    def coarseness(
        self,
        column: str,
        log_scales: Int64[Tensor, "N 3"],
        opacities: Int64[Tensor, "N 1"] | None = None,
    ) -> Int64[Tensor, "N 1"]:
        """How many lower bits of the integers of such a column are zero."""
        base = self._base(column, log_scales, opacities)
        return self.coarsenings[column].coarseness(base, torch.zeros_like(base))

    def _base(
        self, column: str, log_scales: Int64[Tensor, "N 3"], opacities: Int64[Tensor, "N 1"] | None
    ) -> Int64[Tensor, "N 1"]:
        known = {axis: log_scales[:, [i]] for i, axis in enumerate(LOG_SCALES)}
        if opacities is not None:
            known[OPACITY] = opacities
        return self.coarsenings[column].base(known)

    @cached_property
    def coarsenings(self) -> Mapping[str, Coarsening]:
        """The rule of every column."""
        size = 2 / math.log(2) * self.log_scale / self.finest  # of log2 s^2, by a step of ln s
        large, middle, smallest = LOG_SCALES
        most = self._most("log_scale")
        own = -_EXPONENT / 2 * size
        area = _EXPONENT / 2 * math.log2(self.area)
        half = -_EXPONENT / 4 * size  # of log2(s1 s2), by a step of either
        both = {large: half, middle: half}
        found = {
            large: _rule(most, area + _EXPONENT / 2 * _USUAL_GAP, own),
            middle: _rule(most, area, half, _linear({large: half})),
            smallest: _rule(most, area + _THIN, 0.0, _linear(both)),
            OPACITY: _rule(self._most("logit_opacity"), area, 0.0, _linear(both)),
        }
        # -exponent * log2(opacity), as hinges of the logit.
        slope = -_EXPONENT / 2 / math.log(2) * self.logit_opacity / self.finest
        knee = _EXPONENT / 2 / math.log(2) * _KNEE
        opacity = [Term(_factors({OPACITY: slope}), low=_units(x)) for x in (-knee, knee)]
        shown = area + _EXPONENT * _USUAL_OPACITY
        color = _rule(self._most("color"), shown, 0.0, _linear(both), *opacity)
        # -exponent / 2 * log2 of the anisotropy.
        ratio = self.log_scale / self.finest  # of r, by a step
        long = -_EXPONENT / 2 * _SLOPE_LONG * ratio
        steep = -_EXPONENT / 2 * (_SLOPE_ROUND - _SLOPE_LONG) * ratio
        bend = Term(
            _factors({large: steep, middle: -steep}),
            low=_units(-_EXPONENT / 4 * (_SLOPE_ROUND - _SLOPE_LONG)),
        )
        turned = _linear({large: half + long, middle: half - long})
        constant = shown - _EXPONENT / 2 * (_ROUND - _USUAL_ANISOTROPY)
        rotation = _rule(self._most("rotation"), constant, 0.0, turned, *opacity, bend)
        found |= dict.fromkeys(COLORS, color)
        found |= dict.fromkeys(ROTATIONS, rotation)
        return found

    def _most(self, attribute: str) -> int:
        room = math.log2(_COARSEST[attribute] / getattr(self, attribute))
        return _FINER + min(max(math.floor(room), 0), _COARSER)


def _rule(most: int, constant: float, own: float, *terms: Term) -> Coarsening:
    """With numbers in octaves; k is rounded, and counts from the finest steps."""
    return Coarsening(most, _units(_FINER + 0.5 + constant), _units(own), terms)


def _linear(factors: Mapping[str, float]) -> Term:
    """A sum without bounds."""
    return Term(_factors(factors))


def _factors(factors: Mapping[str, float]) -> tuple[tuple[str, int], ...]:
    return tuple((name, _units(factor)) for name, factor in factors.items())


def _units(octaves: float) -> int:
    return round(octaves * 2**FRACTION_BITS)


def _nearest(
    rule: Coarsening, base: Int64[Tensor, "..."] | int, numbers: Float[Tensor, "..."]
) -> Int64[Tensor, "..."]:
    """The nearest multiple of 2^k, k as the integer next to each number has it."""
    k = rule.coarseness(base, numbers.round().long())
    return (numbers / (1 << k)).round().long() << k
