"""Product quantization: a small codebook per slice of the vector, after an optional rotation."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from ..contract import Quantized
from .composite import CompositeQuantizer
from .ema import VectorQuantizer
from .grouped import GroupedQuantizer


class ProductQuantizer(CompositeQuantizer):
    """x -> R^T PQ(R x) with R orthogonal; R = I unless `rotate` fits it.

    Product quantization treats its slices as independent. On correlated data the rotation of
    optimized product quantization (Ge et al., CVPR 2013, the non-parametric solution) makes them
    so; it costs d² numbers of side information.
    """

    rotation: Tensor
    """R, [dim, dim], orthogonal; the rows are the directions that the slices see."""

    def __init__(
        self,
        dim: int,
        num_groups: int,
        num_codes: int,
        *,
        rotate: bool = False,
        rounds: int = 10,
        iterations: int = 20,
        decay: float = 0.99,
        commitment: float = 0.25,
        seed: int = 0,
    ) -> None:
        """Slices as equal as possible, each with its own codes.

        Args:
            dim: Length of the vectors.
            num_groups: M slices, at most `dim`.
            num_codes: K of each slice.
            rotate: Whether `fit` learns R.
            rounds: Alternations between codes and rotation in `fit`.
            iterations: Lloyd steps of each codebook in `fit`.
            decay: As in `VectorQuantizer`.
            commitment: As in `VectorQuantizer`.
            seed: Group g takes seed + g.
        """
        if not 1 <= num_groups <= dim:
            raise ValueError(f"`num_groups` must be 1 to {dim}, got {num_groups}.")
        sizes = [len(part) for part in torch.arange(dim).tensor_split(num_groups)]
        slices = GroupedQuantizer(
            [
                VectorQuantizer(
                    size,
                    num_codes,
                    decay=decay,
                    commitment=commitment,
                    iterations=iterations,
                    seed=seed + group,
                )
                for group, size in enumerate(sizes)
            ]
        )
        super().__init__(dim, [slices], [(0, column) for column in range(num_groups)], seed=seed)
        self.rotate, self.rounds = rotate, rounds
        self.register_buffer("rotation", torch.eye(dim))

    @property
    def slices(self) -> GroupedQuantizer:
        """The quantizer of the rotated vectors."""
        return cast(GroupedQuantizer, self.parts[0])

    def _quantize(self, x: Tensor) -> Quantized:
        made = self.slices(x @ self.rotation.T)
        self._gather_counts()
        return Quantized(made.values @ self.rotation, made.indices, made.loss, made.bits)

    def _encode(self, x: Tensor) -> Tensor:
        return self.slices.encode(x @ self.rotation.T)

    def _decode(self, indices: Tensor) -> Tensor:
        return self.slices.decode(indices) @ self.rotation

    def _fit(self, x: Tensor, weights: Tensor) -> None:
        if not self.rotate:
            self.slices.fit(x, weights=weights)
            return
        sizes = [group.dim for group in self.slices.each_part()]
        self.rotation.copy_(balanced_axes(x, weights, sizes))
        for _ in range(self.rounds):
            turned = x @ self.rotation.T
            self.slices.fit(turned, weights=weights)
            coded = self.slices.decode(self.slices.encode(turned))
            # The R that minimizes |R x - coded|: orthogonal Procrustes.
            u, _, vt = torch.linalg.svd((coded * weights[:, None]).T.double() @ x.double())
            self.rotation.copy_(u @ vt)
        self.slices.fit(x @ self.rotation.T, weights=weights)


def balanced_axes(
    x: Float[Tensor, "n dim"], weights: Float[Tensor, "n"], sizes: list[int]
) -> Float[Tensor, "dim dim"]:
    """Principal axes as rows, dealt out so that the slices' products of variances are even.

    The parametric solution of Ge et al.: each axis, largest variance first, goes to the slice with
    the smallest product so far that still has room.
    """
    share = (weights / weights.sum()).double()[:, None]
    centered = x.double() - (x * share).sum(0)
    variances, axes = torch.linalg.eigh((centered * share).T @ centered)
    logs = variances.clamp(min=1e-12 * variances[-1].clamp(min=1e-300)).log().tolist()
    members: list[list[int]] = [[] for _ in sizes]
    sums = [0.0] * len(sizes)
    for axis in reversed(range(len(logs))):
        open_slices = [s for s, size in enumerate(sizes) if len(members[s]) < size]
        chosen = min(open_slices, key=lambda s: sums[s])
        members[chosen].append(axis)
        # Logs are taken above the smallest, so that every axis makes its slice larger.
        sums[chosen] += logs[axis] - logs[0] + 1e-9
    return axes.T[[axis for member in members for axis in member]].float()
