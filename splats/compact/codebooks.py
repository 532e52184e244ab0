"""k-means codebooks of Gaussians in training: the codes are the means of their members.

Reference: Navaneet et al., "CompGS: Smaller and Faster Gaussian Splatting with Vector
Quantization", ECCV 2024, sec. 3.2.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vq.kmeans import kmeans
from vq.nearest import nearest
from vq.quantizers.gradients import straight_through
from vq.quantizers.lloyd import cell_means


class Codebook:
    """K codes for the vectors of one attribute, and which code each Gaussian has."""

    def __init__(self, num_codes: int, *, seed: int = 0) -> None:
        self.num_codes, self.seed = num_codes, seed
        self.codes: Float[Tensor, "K dim"] | None = None
        self.indices: Int[Tensor, "N"] | None = None

    @torch.no_grad()
    def assign(self, x: Float[Tensor, "N dim"], *, iterations: int) -> None:
        """Lloyd's iterations from the codes so far, or from random vectors, and new members."""
        if self.codes is None:
            found = kmeans(x, min(self.num_codes, len(x)), iterations=iterations, seed=self.seed)
            self.codes, self.indices = found.centers.to(x), found.indices.to(x.device)
            return
        for _ in range(iterations):
            self.indices = nearest(x, self.codes)[0]
            self.follow(x)
        self.indices = nearest(x, self.codes)[0]

    @torch.no_grad()
    def follow(self, x: Float[Tensor, "N dim"]) -> None:
        """Codes become the means of their members; a code without any stays."""
        assert self.codes is not None and self.indices is not None
        self.codes, _ = cell_means(x, self.indices, torch.ones_like(x[:, 0]), self.codes)

    def quantized(self, x: Float[Tensor, "N dim"]) -> Float[Tensor, "N dim"]:
        """The code of every vector; the gradient goes to the vector unchanged."""
        assert self.codes is not None and self.indices is not None
        return straight_through(x, self.codes[self.indices])

    def keep(self, index: Int[Tensor, "M"]) -> None:
        """Only these members remain."""
        assert self.indices is not None
        self.indices = self.indices[index]

    def state_dict(self) -> dict[str, Any]:
        """Codes and members."""
        return {"codes": self.codes, "indices": self.indices}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` returned."""
        self.codes, self.indices = (
            None if state[name] is None else state[name].clone() for name in ("codes", "indices")
        )
