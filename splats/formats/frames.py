"""Gaussians carried from one system of axes to another, left-handed systems included.

A system is named by the directions of its axes +X, +Y, +Z: R or L (right, left), U or D (up,
down), F or B (forward, back), so that RDF is COLMAP, OpenCV and 3DGS training, RUB OpenGL.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from ..gaussians import Gaussians, multiply_quats, rotmat_to_quat
from ..sh import sh_rotation
from .contract import HOUSE_FRAME, ROWS_PER_CHUNK, Source
from .sources import InMemory, View

FRAMES = (
    "LDB", "RDB", "LUB", "RUB", "LDF", "RDF", "LUF", "RUF",
    "LFD", "RFD", "LFU", "RFU", "LBD", "RBD", "LBU", "RBU",
)  # fmt: skip
"""The systems that SPZ numbers, in its order: `FRAMES[0]` is its number 1."""

_AXES = {"R": (0, 1), "L": (0, -1), "D": (1, 1), "U": (1, -1), "F": (2, 1), "B": (2, -1)}
_ROUNDING = 1e-10


def check_frame(frame: str, *, name: str = "frame") -> str:
    """`frame` in capitals.

    Raises:
        ValueError: It does not name three different axes.
    """
    letters = frame.upper()
    known = len(letters) == 3 and set(letters) <= set(_AXES)
    if not known or len({_AXES[letter][0] for letter in letters}) != 3:
        raise ValueError(
            f"`{name}` must name the directions of +X, +Y and +Z, one letter each of R/L, U/D and "
            f"F/B such as RDF, got {frame!r}."
        )
    return letters


@cache
def _axes(frame: str) -> Float[Tensor, "3 3"]:
    """Rows: the directions of the axes of `frame` in RDF."""
    rows = torch.zeros(3, 3, dtype=torch.float64)
    for row, letter in enumerate(check_frame(frame)):
        column, sign = _AXES[letter]
        rows[row, column] = sign
    return rows


def frame_matrix(source: str, target: str) -> Float[Tensor, "3 3"]:
    """M of x_target = M @ x_source, float64: one entry of +-1 in each row; determinant -1 where
    one of the systems is left-handed and the other is not."""
    return _axes(target) @ _axes(source).T


def convert_gaussians(gaussians: Gaussians, source: str, target: str) -> Gaussians:
    """The same scene with its numbers in the axes `target` instead of `source`.

    Means, rotations and harmonics move together by M = `frame_matrix`; scales and opacities stay.
    Where M only flips axes, a rotation R becomes M R M, so that numbers change nothing but their
    signs (as in the SPZ library); the quaternion's vector part v becomes det(M) M v. Where it swaps
    axes, R becomes det(M) M R. Both are proper and give the ellipsoid M R S^2 R^T M^T, which no
    reflection of its own axes changes.
    """
    source, target = check_frame(source, name="source"), check_frame(target, name="target")
    if source == target:
        return gaussians
    matrix = frame_matrix(source, target)
    places = matrix.abs().argmax(dim=1)
    signs = matrix.sum(dim=1).to(gaussians.means)
    handedness = float(torch.linalg.det(matrix).round())
    if torch.equal(matrix, torch.diag(matrix.diagonal())):
        quats = gaussians.quats * torch.cat([signs.new_ones(1), handedness * signs])
    else:
        turn = rotmat_to_quat(handedness * matrix).to(gaussians.quats)
        quats = multiply_quats(turn, gaussians.quats)
    return Gaussians(
        means=gaussians.means[:, places] * signs,
        quats=quats,
        log_scales=gaussians.log_scales,
        logit_opacities=gaussians.logit_opacities,
        sh0=gaussians.sh0,
        shN=_convert_sh(gaussians.shN, source, target),
    )


def _convert_sh(shN: Float[Tensor, "N rest 3"], source: str, target: str) -> Tensor:
    coefficients = shN.shape[1]
    if coefficients == 0:
        return shN
    matrix = _sh_matrix(source, target, round((coefficients + 1) ** 0.5) - 1)
    if torch.equal(matrix, torch.diag(matrix.diagonal())):
        return shN * matrix.diagonal().to(shN)[:, None]
    return torch.einsum("ij,njc->nic", matrix.to(shN), shN)


@cache
def _sh_matrix(source: str, target: str, degree: int) -> Float[Tensor, "rest rest"]:
    """What the harmonics above degree 0 are multiplied by; exact where it holds 0 and +-1."""
    matrix = sh_rotation(degree, frame_matrix(source, target))[1:, 1:]
    whole = matrix.round()
    return torch.where((matrix - whole).abs() < _ROUNDING, whole, matrix)


@dataclass(frozen=True)
class InFrame(View):
    """A source with its numbers converted to another system of axes."""

    frame: str
    """Directions of +X, +Y and +Z that the chunks shall have."""

    def chunks(self, rows: int = ROWS_PER_CHUNK) -> Iterator[Gaussians]:
        """Converted chunks."""
        for chunk in self.source.chunks(rows):
            yield convert_gaussians(chunk, self.source.frame, self.frame)


@dataclass(frozen=True)
class Declared(View):
    """A source whose numbers are taken to be in `frame`, whatever its file says."""

    frame: str
    """Directions of +X, +Y and +Z."""

    def chunks(self, rows: int = ROWS_PER_CHUNK) -> Iterator[Gaussians]:
        """Chunks as they are."""
        return self.source.chunks(rows)


def in_frame(source: Source, frame: str = HOUSE_FRAME) -> Source:
    """`source` with its numbers in the axes `frame`; itself where they are already."""
    frame = check_frame(frame)
    if source.frame == frame:
        return source
    if isinstance(source, InMemory):
        moved = convert_gaussians(source.gaussians, source.frame, frame)
        return replace(source, gaussians=moved, frame=frame)
    return InFrame(source, frame)


def declared(source: Source, frame: str | None) -> Source:
    """`source` with its frame replaced, its numbers untouched; itself for None."""
    return source if frame is None else Declared(source, check_frame(frame))
