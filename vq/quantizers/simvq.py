"""SimVQ: one linear layer over a frozen random codebook, so that no code can die."""

from __future__ import annotations

import math
import struct

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..contract import CodecError, Quantized
from ..nearest import nearest
from .base import RowQuantizer, mean_square
from .gradients import straight_through
from .lloyd import cell_means
from .philox import NORMAL_STD, portable_normals
from .rotation import rotate

_HEADER = struct.Struct("<HIQb")
"""dim, number of codes, seed, exponent of the matrix."""
MAX_VALUES = 1 << 26
"""Most values, codes times dimensions, that `from_bytes` allocates."""


class SimVQ(RowQuantizer):
    """Codes C W^T + b with C frozen: every gradient moves all codes at once.

    C is N(0, 1)-like and comes from a seed by integer arithmetic (`portable_normals`), so a file
    holds the seed, W and b instead of K codes. The codes are exact sums when W has 16 bits, which
    `from_bytes` ensures: the same indices decode to the same bits everywhere.

    Reference: Zhu et al., "Addressing Representation Collapse in Vector Quantized Models with One
    Linear Layer", arXiv 2411.02038. Seeding the basis and the exact sums are ours.
    """

    basis: Tensor
    """C, [K, dim], not part of the state: it follows from the seed."""

    def __init__(
        self,
        dim: int,
        num_codes: int,
        *,
        commitment: float = 0.25,
        match_first_batch: bool = True,
        rotation_trick: bool = False,
        iterations: int = 20,
        decay: float = 0.99,
        seed: int = 0,
    ) -> None:
        """A quantizer whose codes start as N(0, 1/dim), as in the released configurations.

        Args:
            dim: Length of the vectors.
            num_codes: K; it costs memory and time but no bytes.
            commitment: β of the loss mean((q - sg x)²) + β mean((sg q - x)²); 0.25 in the paper.
            match_first_batch: Give the codes the mean and covariance of the first training batch
                (ours): one layer cannot recover from a start where a few codes take all vectors.
            rotation_trick: Pass gradients by `rotate` instead of straight through.
            iterations: Alternations of `fit`.
            decay: Of the statistics.
            seed: Of the basis, 0 to 2^63 - 1.
        """
        super().__init__(dim, (num_codes,), decay=decay, seed=seed)
        if not 0 <= seed < 1 << 63:
            raise ValueError(f"`seed` must be 0 to 2^63 - 1, got {seed}.")
        self.commitment, self.rotation_trick = commitment, rotation_trick
        self.match_first_batch, self.iterations = match_first_batch, iterations
        self.weight = nn.Parameter(torch.eye(dim) / (NORMAL_STD * math.sqrt(dim)))
        self.bias = nn.Parameter(torch.zeros(dim))
        self._draw_basis()

    @property
    def codebook(self) -> Float[Tensor, "k dim"]:
        """The codes C W^T + b.

        While training in float32. Otherwise in float64, where the products of 20-bit and 16-bit
        numbers add up exactly in any order, for any `dim` below 2^17.
        """
        if self.training:
            return torch.nn.functional.linear(self.basis, self.weight, self.bias)
        exact = self.basis.double() @ self.weight.double().T
        return (exact + self.bias.double()).float()

    def to_bytes(self) -> bytes:
        """Header, W as 16-bit integers with one exponent, b as float32: 15 + 2 dim² + 4 dim bytes,
        whatever the number of codes."""
        weight = self.weight.detach().double().cpu().numpy()
        exponent = max(-100, math.frexp(float(np.abs(weight).max()))[1] - 15)
        steps = np.clip(np.rint(np.ldexp(weight, -exponent)), -32768, 32767).astype("<i2")
        bias = self.bias.detach().float().cpu().numpy().astype("<f4")
        header = _HEADER.pack(self.dim, self.num_codes[0], self.seed, exponent)
        return header + steps.tobytes() + bias.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> SimVQ:
        """The quantizer in `data`, in evaluation mode; its statistics are unknown.

        Raises:
            CodecError: `data` is not what `to_bytes` returns.
        """
        if len(data) < _HEADER.size:
            raise CodecError(
                f"SimVQ needs a header of {_HEADER.size} bytes, got {len(data)}", offset=len(data)
            )
        dim, num_codes, seed, exponent = _HEADER.unpack_from(data)
        if not 1 <= dim * num_codes <= MAX_VALUES or seed >= 1 << 63:
            raise CodecError(
                f"SimVQ must have 1 to {MAX_VALUES} values and a seed below 2^63, "
                f"got {num_codes} codes of {dim} and {seed}",
                offset=0,
            )
        length = _HEADER.size + 2 * dim * dim + 4 * dim
        if len(data) != length:
            raise CodecError(
                f"SimVQ of {dim} dimensions has {length} bytes, got {len(data)}",
                offset=min(length, len(data)),
            )
        steps = np.frombuffer(data, "<i2", dim * dim, _HEADER.size).reshape(dim, dim)
        bias = np.frombuffer(data, "<f4", dim, _HEADER.size + 2 * dim * dim)
        if not np.isfinite(bias).all():
            raise CodecError("SimVQ has a bias that is not finite", offset=length - 4 * dim)
        made = cls(dim, num_codes, seed=seed)
        with torch.no_grad():
            made.weight.copy_(torch.from_numpy(np.ldexp(steps.astype(np.float32), exponent)))
            made.bias.copy_(torch.from_numpy(bias.astype(np.float32)))
        return made.eval()

    def get_extra_state(self) -> Tensor:
        """The seed of the basis, which a state dict holds instead of the basis."""
        return torch.tensor(self.seed)

    def set_extra_state(self, state: Tensor) -> None:
        """Draw the basis again if a loaded state came from another seed."""
        if int(state) != self.seed:
            self.seed = int(state)
            self._draw_basis()

    def _draw_basis(self) -> None:
        values = portable_normals(self.seed, self.num_codes[0] * self.dim)
        basis = torch.from_numpy(values).reshape(-1, self.dim).to(self.weight.device)
        self.register_buffer("basis", basis, persistent=False)

    def _quantize(self, x: Tensor) -> Quantized:
        if self.training and self.match_first_batch and len(x) > 1 and not self.counts.any():
            self._match(x.detach(), torch.ones_like(x[:, 0]))
        codebook = self.codebook
        indices = nearest(x.detach(), codebook.detach())[0]
        values = codebook[indices]
        through = rotate if self.rotation_trick else straight_through
        return Quantized(
            values=through(x, values.detach()),
            indices=indices[:, None],
            loss=mean_square(values, x.detach())
            + self.commitment * mean_square(x, values.detach()),
            bits=self._counted_bits(indices[:, None]),
        )

    def _encode(self, x: Tensor) -> Tensor:
        return nearest(x, self.codebook)[0][:, None]

    def _decode(self, indices: Tensor) -> Tensor:
        return self.codebook[indices[:, 0]]

    def _fit(self, x: Tensor, weights: Tensor) -> None:
        """Match mean and covariance, then alternate assignment and least squares for W and b."""
        self._match(x, weights)
        for _ in range(self.iterations):
            codebook = self.codebook.detach()
            means, mass = cell_means(x, nearest(x, codebook)[0], weights, codebook)
            self._solve(means.double(), mass.double())

    @torch.no_grad()
    def _match(self, x: Float[Tensor, "n dim"], weights: Float[Tensor, "n"]) -> None:
        """Give the codes the mean and covariance of `x`."""
        share = (weights / weights.sum()).double()[:, None]
        mean = (x.double() * share).sum(0)
        centered = x.double() - mean
        variances, axes = torch.linalg.eigh((centered * share).T @ centered)
        root = axes * variances.clamp(min=0).sqrt() @ axes.T
        self.weight.copy_(root / NORMAL_STD)
        self.bias.copy_(mean)

    def _solve(self, means: Float[Tensor, "k dim"], mass: Float[Tensor, "k"]) -> None:
        """W and b that bring the codes nearest to the means of their cells, by weight."""
        ones = torch.ones_like(means[:, :1])
        basis = torch.cat([self.basis.double(), ones], dim=1)
        weighted = basis * (mass / mass.sum())[:, None]
        gram = weighted.T @ basis
        ridge = 1e-9 * gram.diagonal().mean() * torch.eye(len(gram), device=gram.device)
        solution = torch.linalg.solve(gram + ridge, weighted.T @ means)
        self.weight.copy_(solution[:-1].T)
        self.bias.copy_(solution[-1])
