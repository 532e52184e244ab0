"""Linear interpolation between nodes as a matrix, to change how many there are."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def interpolation(old: int, new: int, span: Float[Tensor, "2"]) -> Float[Tensor, "new old"]:
    """Weights of `old` nodes on [0, 1] at `new` nodes on a span of it, both with their ends."""
    at = torch.lerp(span[0], span[1], torch.linspace(0, 1, new)).clamp(0, 1) * (old - 1)
    node = at.long().clamp(max=old - 2)
    share = at - node
    weights = torch.zeros(new, old)
    rows = torch.arange(new)
    weights[rows, node] = 1 - share
    weights[rows, node + 1] += share
    return weights
