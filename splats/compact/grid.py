"""Rounding to the grids of a file while the scene lives in another frame, straight through."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from captures import Similarity
from vq.transforms.gauge import canonical_frames

from ..formats.fwa_grading import LOG_SCALES
from ..formats.fwa_quantization import UNGRADED, Integers, Values, on_grids
from ..gaussians import Gaussians, multiply_quats, rotmat_to_quat
from ..training.kernels import native_kernels_for
from .precision import HarmonicsGrid, Precision, bits_of

_ROUNDED = ("means", "quats", "log_scales", "logit_opacities", "sh0")
"""Attributes in the order of the kernel."""


@dataclass(frozen=True)
class Grid:
    """The grids of a file, seen from the frame of training."""

    precision: Precision
    """Steps, in units of the file."""
    to_file: Similarity
    """T_file_training."""

    def rounded(self, gaussians: Gaussians) -> Gaussians:
        """All attributes but the harmonics as the file will hold them, in the training's frame.

        Quaternions keep their length. They must be canonical in the file's frame (`canonical`), or
        nearly so.

        Args:
            gaussians: Detached.
        """
        values = [getattr(gaussians, name).contiguous() for name in _ROUNDED]
        native = native_kernels_for(*values)
        if native is None:
            return self.rounded_reference(gaussians)
        found = [torch.empty_like(value) for value in values]
        steps = self.precision.steps
        units, graded = steps.of_integers, steps.graded
        native.round_to_grids(
            [value.numpy() for value in values],
            [value.numpy() for value in found],
            self.to_file.matrix()[:3].contiguous().numpy(),
            self.to_file.inverse().matrix()[:3].contiguous().numpy(),
            self._turn.numpy(),
            self._shift,
            [units.position, units.rotation, units.log_scale, units.logit_opacity, units.color],
            UNGRADED if graded is None else graded.kernel_rules,
            0 if graded is None else len(LOG_SCALES),
        )
        return replace(gaussians, **dict(zip(_ROUNDED, found, strict=True)))

    def rounded_reference(self, gaussians: Gaussians) -> Gaussians:
        """`rounded` in plain torch, any device: the definition of the native kernel."""
        steps, back = self.precision.steps, self.to_file.inverse()
        turned = self._turned(gaussians)
        found = on_grids(self._values(gaussians, turned), steps).values(steps)
        ones = torch.ones_like(found.rotations[:, :1])
        units = torch.cat([ones, found.rotations], 1) @ self._turn.to(turned)
        lengths = gaussians.quats.double().norm(dim=1, keepdim=True)
        lengths = lengths * _away_from_zero(turned[:, :1]).sign()
        return Gaussians(
            means=back.apply(found.positions).to(gaussians.means),
            quats=(units / units.norm(dim=1, keepdim=True) * lengths).to(gaussians.quats),
            log_scales=(found.log_scales - self._shift).to(gaussians.log_scales),
            logit_opacities=found.logit_opacities[:, 0].to(gaussians.logit_opacities),
            sh0=found.colors[:, None].to(gaussians.sh0),
            shN=gaussians.shN,
        )

    def canonical(self, gaussians: Gaussians) -> Gaussians:
        """The same ellipsoids by the axes that the file names them by."""
        turned = gaussians.quats.double().cpu() @ self._turn.T
        frames = canonical_frames(turned.numpy(), gaussians.log_scales.cpu().numpy())
        quats = torch.from_numpy(np.ascontiguousarray(frames.quats))
        back = quats @ self._turn
        return replace(
            gaussians,
            quats=back.to(gaussians.quats),
            log_scales=torch.from_numpy(frames.log_scales).to(gaussians.log_scales),
        )

    def bits(self, gaussians: Gaussians) -> float:
        """Entropy of all integers but the harmonics', without contexts and without an order."""
        steps = self.precision.steps
        found = bits_of(self._integers(gaussians), steps)
        return sum(found.values()) - math.lgamma(len(gaussians) + 1) / math.log(2)

    def harmonics(self, gaussians: Gaussians) -> HarmonicsGrid:
        """Of Gaussians as they are now."""
        steps = self.precision.steps
        octaves = self._integers(gaussians).harmonics_octaves(steps)
        return HarmonicsGrid.of(gaussians.shN, self.precision.harmonics, octaves)

    def _integers(self, gaussians: Gaussians) -> Integers:
        return on_grids(self._values(gaussians, self._turned(gaussians)), self.precision.steps)

    def _values(self, gaussians: Gaussians, turned: Float[Tensor, "N 4"]) -> Values:
        """In the frame of the file, axes as they are named; in float64, so that grids of large
        scenes stay grids."""
        return Values(
            positions=self.to_file.apply(gaussians.means.double()),
            log_scales=gaussians.log_scales.double() + self._shift,
            rotations=turned[:, 1:] / _away_from_zero(turned[:, :1]),
            logit_opacities=gaussians.logit_opacities.double()[:, None],
            colors=gaussians.sh0[:, 0].double(),
        )

    def _turned(self, gaussians: Gaussians) -> Float[Tensor, "N 4"]:
        """Quaternions in the frame of the file, float64."""
        quats = gaussians.quats.double()
        return quats @ self._turn.T.to(quats)

    @cached_property
    def _turn(self) -> Float[Tensor, "4 4"]:
        """What turns quaternions to the frame of the file, float64; its transpose turns back."""
        turn = rotmat_to_quat(self.to_file.rotation)
        return multiply_quats(turn, torch.eye(4).to(turn)).T.contiguous()

    @property
    def _shift(self) -> float:
        return math.log(self.to_file.scale)


def _away_from_zero(x: Tensor) -> Tensor:
    """Rotations by half a turn, which only drift can reach, have no vector; nearly so will do."""
    return torch.where(x.abs() < 1e-3, torch.full_like(x, 1e-3), x)
