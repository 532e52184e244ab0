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

from ..training.kernels import native_kernels

LOG_SCALES, OPACITY = ("0", "1", "2"), "3"
COLORS, ROTATIONS = ("4", "5", "6"), ("7", "8", "9")
"""Names of the columns of a coded set."""
HARMONICS = "harmonics"
"""What is coded beside the set and follows a rule, too."""

KernelRule = tuple[int, int, int, list[tuple[list[int], list[int], int, int]]]
"""Most, constant and own part of a `Coarsening`; columns, factors and bounds of its terms."""

_FINER, _COARSER = 4, 4
"""Octaves around the stated steps, at most."""
_COARSEST = {"log_scale": 1.2, "rotation": 0.8, "logit_opacity": 4.0, "color": 2.0}
_THIN = 1.0
"""Octaves by which the smallest of the three scales is coarser: it shows least."""
_USUAL_OPACITY, _USUAL_ANISOTROPY, _USUAL_GAP = -1.5, 1.5, 1.4
"""log2 of the opacity and of the squared sinh, and log2(s1 / s2), of a Gaussian of stated steps."""
_KNEE = 1.386
"""log2(sigmoid(x)) is nearly the mean of two hinges at -+ this x: they meet at -ln 2 for x = 0."""
_ROUND, _SLOPE_ROUND, _SLOPE_LONG, _BEND = -3.3, 7.1, 2.885, 0.5
"""log2((2 sinh r)^2 + 0.1) is nearly -3.3 + 7.1 r up to r = 1/2, where the slope falls."""


@dataclass(frozen=True)
class Grading:
    """How strongly each attribute's steps follow what a Gaussian shows: 0 not at all, 1 as if
    predictions were exact. Which is best differs from scene to scene, so `compress` measures it."""

    area: float
    """Product of the two larger standard deviations, in squared world units, of a Gaussian that has
    the stated steps."""
    log_scale: float = 0.6
    rotation: float = 0.6
    logit_opacity: float = 0.6
    color: float = 0.6
    harmonics: float = 0.6


@dataclass(frozen=True)
class GradedSteps:
    """Steps of Gaussians of a usual opacity and shape, and how those of others follow; see
    `Steps`."""

    log_scale: float
    rotation: float
    logit_opacity: float
    color: float
    grading: Grading

    usual_coarseness = _FINER
    """k of a Gaussian of these steps."""
    finest = 1 << _FINER
    """Parts of these steps that integers are multiples of."""

    @property
    def steps(self) -> tuple[float, float, float, float]:
        """Of log scales, rotations, opacities and colors."""
        return self.log_scale, self.rotation, self.logit_opacity, self.color

    def integers(self, numbers: Float[Tensor, "N 10"]) -> Int64[Tensor, "N 10"]:
        """The nearest allowed integers, columns in the order of a set; log scales descend like the
        numbers that are given, float64."""
        native = native_kernels() if numbers.device.type == "cpu" else None
        if native is None:
            return self.integers_reference(numbers)
        found = torch.empty(numbers.shape, dtype=torch.int64)
        native.graded_integers(
            numbers.contiguous().numpy(), self.kernel_rules, len(LOG_SCALES), found.numpy()
        )
        return found

    def integers_reference(self, numbers: Float[Tensor, "N 10"]) -> Int64[Tensor, "N 10"]:
        """`integers` in plain torch, any device: the definition of the native kernel."""
        known: dict[str, Tensor] = {}
        for column, (name, rule) in zip(numbers.T, self.coarsenings.items(), strict=True):
            base = rule.base(known)
            k = rule.coarseness(base, column.round().long())
            found = (column / (1 << k)).round().long() << k
            if name in LOG_SCALES[1:]:
                # Rounded more coarsely than this one, the one before could fall below it.
                most = known[LOG_SCALES[int(name) - 1]]
                k = rule.coarseness(base, most)
                found = torch.where(found > most, most >> k << k, found)
            known[name] = found
        return torch.stack(list(known.values()), dim=1)

    def coarseness(
        self,
        column: str,
        log_scales: Int64[Tensor, "N 3"],
        opacities: Int64[Tensor, "N 1"] | None = None,
    ) -> Int64[Tensor, "N 1"]:
        """How many lower bits of the integers of such a column are zero; of `HARMONICS`, by how
        many octaves their steps exceed the finest."""
        base = self._base(column, log_scales, opacities)
        return self._rules[column].coarseness(base, torch.zeros_like(base))

    def _base(
        self, column: str, log_scales: Int64[Tensor, "N 3"], opacities: Int64[Tensor, "N 1"] | None
    ) -> Int64[Tensor, "N 1"]:
        known = {axis: log_scales[:, [i]] for i, axis in enumerate(LOG_SCALES)}
        if opacities is not None:
            known[OPACITY] = opacities
        return self._rules[column].base(known)

    @property
    def coarsenings(self) -> Mapping[str, Coarsening]:
        """The rule of every column of a set."""
        return {name: rule for name, rule in self._rules.items() if name != HARMONICS}

    @cached_property
    def kernel_rules(self) -> list[KernelRule]:
        """`coarsenings` as native kernels take them."""
        return [_kernel_rule(rule) for rule in self.coarsenings.values()]

    @property
    def harmonics(self) -> Coarsening:
        """The rule of the steps of harmonics."""
        return self._rules[HARMONICS]

    @cached_property
    def _rules(self) -> Mapping[str, Coarsening]:
        large, middle, smallest = LOG_SCALES
        most, exponent = self._most("log_scale"), self.grading.log_scale
        area, by_area = self._by_area(exponent)
        half = -exponent / 2 * self._octaves  # of log2(s1 s2), by a step of either
        by_large = _linear({large: half})
        opacity_area, by_opacity_area = self._by_area(self.grading.logit_opacity)
        found = {
            large: _rule(most, area + exponent / 2 * _USUAL_GAP, 2 * half),
            middle: _rule(most, area, half, by_large),
            smallest: _rule(most, area + _THIN, 0.0, by_area),
            OPACITY: _rule(self._most("logit_opacity"), opacity_area, 0.0, by_opacity_area),
        }
        shown, terms = self._by_area_and_opacity(self.grading.color)
        found |= dict.fromkeys(COLORS, _rule(self._most("color"), shown, 0.0, *terms))
        shown, terms = self._by_area_and_opacity(self.grading.rotation)
        round_, bend = self._by_anisotropy(self.grading.rotation)
        rotation = _rule(self._most("rotation"), shown + round_, 0.0, *terms, *bend)
        found |= dict.fromkeys(ROTATIONS, rotation)
        shown, terms = self._by_area_and_opacity(self.grading.harmonics)
        return found | {HARMONICS: _rule(_FINER + _COARSER, shown, 0.0, *terms)}

    @property
    def _octaves(self) -> float:
        """Of a scale, by an integer."""
        return self.log_scale / self.finest / math.log(2)

    def _by_area(self, exponent: float) -> tuple[float, Term]:
        """Constant and term of -exponent / 2 log2(s1 s2 / area)."""
        half = -exponent / 2 * self._octaves
        constant = exponent / 2 * math.log2(self.grading.area)
        return constant, _linear({LOG_SCALES[0]: half, LOG_SCALES[1]: half})

    def _by_area_and_opacity(self, exponent: float) -> tuple[float, list[Term]]:
        """And of -exponent log2(opacity), as hinges of the logit."""
        constant, area = self._by_area(exponent)
        slope = -exponent / 2 / math.log(2) * self.logit_opacity / self.finest
        knee = exponent / 2 / math.log(2) * _KNEE
        hinges = [Term(_factors({OPACITY: slope}), low=_units(x)) for x in (-knee, knee)]
        return constant + exponent * _USUAL_OPACITY, [area, *hinges]

    def _by_anisotropy(self, exponent: float) -> tuple[float, list[Term]]:
        """Of -exponent / 2 log2((2 sinh r)^2 + 0.1)."""
        large, middle, _ = LOG_SCALES
        unit = -exponent / 2 * self.log_scale / self.finest  # by an integer of r
        bend = _SLOPE_ROUND - _SLOPE_LONG
        terms = [
            _linear({large: _SLOPE_LONG * unit, middle: -_SLOPE_LONG * unit}),
            Term(
                _factors({large: bend * unit, middle: -bend * unit}),
                low=_units(-exponent / 2 * bend * _BEND),
            ),
        ]
        return -exponent / 2 * (_ROUND - _USUAL_ANISOTROPY), terms

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


def _kernel_rule(rule: Coarsening) -> KernelRule:
    terms = [
        ([int(name) for name, _ in t.factors], [factor for _, factor in t.factors], t.low, t.high)
        for t in rule.terms
    ]
    return rule.most, rule.constant, rule.own, terms
