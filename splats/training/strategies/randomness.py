"""Random draws of the strategies: one seed, one sequence on every kind of device."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor


class Randomness:
    """A seeded generator whose state can be saved and restored."""

    def __init__(self, seed: int) -> None:
        """`seed` is any non-negative 64-bit integer."""
        self._generator = torch.Generator().manual_seed(seed)

    def normals(self, num: int, *, like: Tensor) -> Float[Tensor, "num 3"]:
        """Standard normal vectors in the dtype and on the device of `like`.

        Other devices draw their own, from a seed that this generator draws: its state is all there
        is to save, and nothing is copied.
        """
        if like.device.type == "cpu":
            return torch.randn(num, 3, generator=self._generator).to(like)
        seed = int(torch.randint(1 << 62, (1,), generator=self._generator))
        generator = torch.Generator(like.device).manual_seed(seed)
        return torch.randn(num, 3, generator=generator, device=like.device, dtype=like.dtype)

    def sample(self, weights: Float[Tensor, " N"], num: int) -> Int[Tensor, " num"]:
        """Indices drawn with replacement, in proportion to `weights` (not all zero).

        By inversion of the cumulative sum in double precision, which unlike `torch.multinomial`
        has no limit on the number of categories.
        """
        cumulative = weights.double().cpu().cumsum(0)
        uniform = torch.rand(num, generator=self._generator, dtype=torch.float64)
        index = torch.searchsorted(cumulative, uniform * cumulative[-1], right=True)
        return index.clamp(max=len(weights) - 1).to(weights.device)

    def get_state(self) -> UInt8[Tensor, " bytes"]:
        """The generator's state, for a checkpoint."""
        return self._generator.get_state()

    def set_state(self, state: UInt8[Tensor, " bytes"]) -> None:
        """Continue from a state that `get_state` returned."""
        self._generator.set_state(state.cpu())
