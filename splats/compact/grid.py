"""Rounding to the grids of a file while the scene lives in another frame, straight through."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from captures import Similarity
from vq.transforms.gauge import canonical_frames
from vq.transforms.klt import principal_directions

from ..formats.fwa_quantization import Steps
from ..gaussians import Gaussians, multiply_quats, rotmat_to_quat
from .precision import Precision, dead_zone, entropy


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
        """
        steps, similarity = self.precision.steps, self.to_file
        back = similarity.inverse()
        shift = math.log(similarity.scale)
        turn = rotmat_to_quat(similarity.rotation).to(gaussians.quats)
        turned = multiply_quats(turn, gaussians.quats)
        real = _away_from_zero(turned[:, :1])
        vectors = _nearest(turned[:, 1:] / real, steps.rotation)
        ones = torch.ones_like(vectors[:, :1])
        units = multiply_quats(
            turn * turn.new_tensor([1, -1, -1, -1]), torch.cat([ones, vectors], 1)
        )
        lengths = gaussians.quats.norm(dim=1, keepdim=True) * real.sign()
        return Gaussians(
            means=_apply(back, _nearest(_apply(similarity, gaussians.means), steps.position)),
            quats=units / units.norm(dim=1, keepdim=True) * lengths,
            log_scales=_descending(gaussians.log_scales + shift, steps) - shift,
            logit_opacities=_nearest(gaussians.logit_opacities, steps.logit_opacity),
            sh0=_nearest(gaussians.sh0, steps.color),
            shN=gaussians.shN,
        )

    def canonical(self, gaussians: Gaussians) -> Gaussians:
        """The same ellipsoids by the axes that the file names them by."""
        turn = rotmat_to_quat(self.to_file.rotation)
        turned = multiply_quats(turn, gaussians.quats.double().cpu())
        frames = canonical_frames(turned.numpy(), gaussians.log_scales.cpu().numpy())
        quats = torch.from_numpy(np.ascontiguousarray(frames.quats))
        back = multiply_quats(turn * turn.new_tensor([1, -1, -1, -1]), quats)
        return replace(
            gaussians,
            quats=back.to(gaussians.quats),
            log_scales=torch.from_numpy(frames.log_scales).to(gaussians.log_scales),
        )

    def bits(self, gaussians: Gaussians) -> float:
        """Entropy of all integers but the harmonics', without contexts and without an order."""
        steps = self.precision.steps
        moved = _apply(self.to_file, gaussians.means)
        turn = rotmat_to_quat(self.to_file.rotation).to(gaussians.quats)
        turned = multiply_quats(turn, gaussians.quats)
        columns = (
            (moved, steps.position),
            (gaussians.log_scales, gaussians.log_scales.new_tensor(steps.log_scales)),
            (turned[:, 1:] / _away_from_zero(turned[:, :1]), steps.rotation),
            (gaussians.logit_opacities[:, None], steps.logit_opacity),
            (gaussians.sh0[:, 0], steps.color),
        )
        total = sum(entropy((x / step).round().int().cpu().numpy()) for x, step in columns)
        return total - math.lgamma(len(gaussians) + 1) / math.log(2)


@dataclass(frozen=True)
class HarmonicsGrid:
    """The higher harmonics in the directions of their variance."""

    mean: Float[Tensor, "d"]
    """Of the rows."""
    directions: Float[Tensor, "d d"]
    """Orthonormal rows."""
    step: float
    """Width of the cells."""

    @classmethod
    def of(cls, shN: Float[Tensor, "N rest 3"], step: float) -> HarmonicsGrid:
        """The directions of some harmonics."""
        rows = shN.flatten(1)
        mean = rows.mean(dim=0)
        centered = rows - mean
        covariance = (centered.T @ centered / max(len(rows), 1)).double().cpu().numpy()
        directions = principal_directions(covariance).astype(np.float32)
        return cls(mean, torch.from_numpy(np.ascontiguousarray(directions)).to(shN), step)

    def coefficients(self, shN: Float[Tensor, "N rest 3"]) -> Float[Tensor, "N d"]:
        """In steps."""
        return (shN.flatten(1) - self.mean) @ self.directions.T / self.step

    def rows(self, coefficients: Float[Tensor, "N d"], like: Tensor) -> Float[Tensor, "N rest 3"]:
        """The harmonics of coefficients."""
        return (coefficients @ self.directions * self.step + self.mean).reshape(like.shape)

    def bits(self, coefficients: Float[Tensor, "N d"]) -> float:
        """Entropy of the rounded coefficients."""
        units = dead_zone(coefficients)
        return entropy(units[:, units.any(dim=0)].int().cpu().numpy())


def _away_from_zero(x: Tensor) -> Tensor:
    """Rotations by half a turn, which only drift can reach, have no vector; nearly so will do."""
    return torch.where(x.abs() < 1e-3, torch.full_like(x, 1e-3), x)


def _nearest(x: Tensor, step: float | Tensor) -> Tensor:
    return (x / step).round() * step


def _descending(log_scales: Float[Tensor, "N 3"], steps: Steps) -> Float[Tensor, "N 3"]:
    """Rounded, the smallest at most the next, as `quantize` has it."""
    sizes = log_scales.new_tensor(steps.log_scales)
    units = (log_scales / sizes).round()
    smallest = torch.minimum(units[:, 2], (units[:, 1] / steps.thin).floor())
    return torch.cat([units[:, :2], smallest[:, None]], dim=1) * sizes


def _apply(similarity: Similarity, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    """In float64, so that grids of large scenes stay grids."""
    return similarity.apply(points.double()).to(points)
