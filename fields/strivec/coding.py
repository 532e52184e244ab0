"""Vectors of local tensors as rows that code well, and back.

A component is the product of three vectors, so their lengths and two of their signs are free:
`balanced` makes the three equally long and the largest entry of two of them positive. The order of
the density's components is free too, as only their sum counts: the strongest come first. Rows are
ordered by component, then along the cubes, so that neighbors are about equally strong.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_TINY = 1e-20


def balanced(vectors: Float[Tensor, "T 3 L R"]) -> Float[Tensor, "T 3 L R"]:
    """The same products of three vectors that are equally long."""
    lengths = vectors.norm(dim=2, keepdim=True).clamp(min=_TINY)
    common = lengths.log().mean(dim=1, keepdim=True).exp()
    found = vectors * (common / lengths)
    at = found.abs().argmax(dim=2, keepdim=True)
    signs = found.gather(2, at).sign()
    signs = torch.where(signs == 0, torch.ones_like(signs), signs)
    # The third vector takes the signs of the others.
    turns = torch.stack([signs[:, 0], signs[:, 1], signs[:, 0] * signs[:, 1]], dim=1)
    return found * turns


def strongest_first(vectors: Float[Tensor, "T 3 L R"]) -> Float[Tensor, "T 3 L R"]:
    """The components of each tensor in the order of their energy."""
    energy = vectors.square().sum(dim=2).clamp(min=_TINY).log().sum(dim=1)
    order = energy.argsort(dim=1, descending=True, stable=True)
    return vectors.gather(3, order[:, None, None, :].expand_as(vectors))


def to_rows(vectors: Float[Tensor, "T 3 L R"]) -> Float[Tensor, "N L"]:
    """One row per vector, by component, tensor and axis; N = 3 R T."""
    return vectors.permute(3, 0, 1, 2).reshape(-1, vectors.shape[2]).contiguous()


def from_rows(rows: Float[Tensor, "N L"], tensors: int) -> Float[Tensor, "rows R"]:
    """What a field holds, [3 T L, R], of `to_rows`.

    Raises:
        ValueError: The rows are not those of so many tensors.
    """
    if rows.ndim != 2 or tensors < 1 or len(rows) % (3 * tensors):
        raise ValueError(f"rows {list(rows.shape)} are not those of {tensors} tensors")
    nodes = rows.shape[1]
    vectors = rows.reshape(-1, tensors, 3, nodes).permute(1, 2, 3, 0)
    return vectors.reshape(3 * tensors * nodes, -1).contiguous()
