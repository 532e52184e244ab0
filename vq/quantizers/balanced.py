"""Balanced quantization: in training every code gets the same number of vectors."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..nearest import CHUNK_VALUES, nearest
from .ema import VectorQuantizer
from .lloyd import cell_means, fit_codebook

EPSILON = 0.003
"""Entropic weight of the transport, for costs centered to [-1, 1] (RepCONC)."""
SINKHORN_ITERATIONS = 100
"""Row and column normalizations (RepCONC)."""


def sinkhorn_assignment(
    costs: Float[Tensor, "n k"],
    *,
    epsilon: float = EPSILON,
    iterations: int = SINKHORN_ITERATIONS,
) -> Int[Tensor, "n"]:
    """The code of each vector under a transport plan that gives each code n/K vectors.

    Costs are centered, d = (cost - mid)/(max - mid + 1e-5), so they lie in [-1, 1]; Q = exp(-d/ε)
    is then normalized in turn so that each code receives 1/K and each vector sends 1/n, in float64
    (exp(333) overflows less), and a vector takes the code it sends most to. ε is relative to the
    largest cost: a single far outlier makes the plan soft and the balance loose, so clip outliers.

    Reference: Zhan et al., "Learning Discrete Representations via Constrained Clustering for
    Effective and Efficient Dense Retrieval" (RepCONC), WSDM 2022, section 4.
    """
    if costs.numel() == 0:
        return torch.zeros(len(costs), dtype=torch.int64, device=costs.device)
    costs = costs.double()
    mid = (costs.max() + costs.min()) / 2
    plan = torch.exp(-(costs - mid) / (costs.max() - mid + 1e-5) / epsilon)
    smallest = torch.finfo(plan.dtype).tiny
    for _ in range(iterations):
        plan /= (plan.sum(0, keepdim=True) * plan.shape[1]).clamp(min=smallest)
        plan /= (plan.sum(1, keepdim=True) * plan.shape[0]).clamp(min=smallest)
    return plan.argmax(1)


class BalancedQuantizer(VectorQuantizer):
    """`VectorQuantizer` whose training and `fit` share vectors evenly among the codes.

    Even use makes indices of fixed length efficient: palettes that a GPU reads at random and no
    entropy coder can shorten. With an entropy coder it costs distortion for nothing. `encode`
    takes the nearest code, as in RepCONC's inference; `encode_balanced` keeps the constraint.
    """

    def assign(self, x: Tensor) -> Tensor:
        """The balanced code of each vector, balanced within chunks of bounded memory."""
        chunks = x.split(max(1, CHUNK_VALUES // (4 * len(self.codebook))))
        return torch.cat(
            [sinkhorn_assignment(torch.cdist(rows, self.codebook) ** 2) for rows in chunks]
        )

    @torch.no_grad()
    def encode_balanced(self, x: Float[Tensor, "*batch dim"]) -> Int[Tensor, "*batch 1"]:
        """Indices whose frequencies are even; a vector's index depends on those beside it."""
        return self.assign(self._checked(x)).reshape(*x.shape[:-1], 1)

    def _fit(self, x: Tensor, weights: Tensor) -> None:
        self.codebook.copy_(
            fit_codebook(x, len(self.codebook), weights=weights, iterations=1, seed=self.seed)
        )
        for _ in range(self.iterations):
            means, _ = cell_means(x, self.assign(x), weights, self.codebook)
            self.codebook.copy_(means)
        self._restart(x, nearest(x, self.codebook)[0], weights)
